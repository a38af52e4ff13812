"""What one would write first: FastAPI, transformers, librosa and hnswlib, for what `POST /v1/recommendations` does.

    uvicorn is started by scripts/bench-load; by hand: python service.py DATA_DIRECTORY PORT [--workers N] [--threads N]

The weights are those of the active generation, and so are the vectors. An MP3 as the body, the ten nearest tracks back. The
model is loaded once, inference builds no graph, and requests are computed by a pool of threads: as many as FastAPI gives a
plain function, and as many a forward pass as PyTorch takes by itself, unless told otherwise.
"""

import argparse
import asyncio
import concurrent.futures
import io
import json
import pathlib
import sqlite3

import fastapi
import hnswlib
import librosa
import numpy
import torch
import uvicorn
from transformers import ASTFeatureExtractor, ASTModel

RATE = 16_000
SECONDS = 30
RESULTS = 10
FRAMES = 1024
HOP = RATE // 100
# Samples that 1024 frames of 25 ms see, 10 ms apart.
WINDOW = (FRAMES - 1) * HOP + RATE * 25 // 1000


class Catalogue:
    """The active generation's model and vectors, and the titles."""

    def __init__(self, data):
        database = sqlite3.connect(f"file:{data / 'catalog.sqlite'}?mode=ro", uri=True)
        (generation,) = database.execute("SELECT generation_id FROM active_generation").fetchone()
        directory = data / "generations" / generation
        extractor = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))["extractor"]
        self.extractor = ASTFeatureExtractor.from_pretrained(directory / "model")
        self.model = ASTModel.from_pretrained(directory / "model").eval()
        rows = database.execute(
            "SELECT track_id, title, embedding FROM analyses JOIN tracks ON tracks.id = track_id"
            " WHERE extractor_id = (SELECT id FROM extractors WHERE name = ?)",
            (extractor,),
        ).fetchall()
        self.titles = {track: title for track, title, _ in rows}
        vectors = numpy.stack([numpy.frombuffer(embedding, dtype="<f4") for *_, embedding in rows])
        self.index = hnswlib.Index(space="ip", dim=vectors.shape[1])
        self.index.init_index(max_elements=len(rows), ef_construction=200, M=16)
        self.index.add_items(vectors, [track for track, *_ in rows])
        self.index.set_ef(128)

    @torch.inference_mode()
    def embed(self, audio):
        """Unit-length embedding of an encoded clip."""
        clip, _ = librosa.load(io.BytesIO(audio), sr=RATE, mono=True, duration=SECONDS)
        pieces = [clip[start * HOP : start * HOP + WINDOW] for start in window_starts(len(clip))]
        windows = self.extractor(pieces, sampling_rate=RATE, return_tensors="pt")["input_values"]
        pooled = torch.nn.functional.normalize(self.model(windows).pooler_output, dim=-1)
        return torch.nn.functional.normalize(pooled.mean(dim=0), dim=-1).numpy()

    def recommend(self, audio):
        """The nearest tracks of a clip."""
        tracks, distances = self.index.knn_query(self.embed(audio)[None], k=RESULTS)
        return {
            "results": [
                {"id": int(track), "title": self.titles[int(track)], "similarity": 1 - float(distance)}
                for track, distance in zip(tracks[0], distances[0], strict=True)
            ]
        }


def window_starts(samples):
    """First frames of the windows, cut as Songkin cuts them: end to end, and one that ends with the clip."""
    frames = max(1 + (samples - RATE * 25 // 1000) // HOP, 1)
    if frames <= FRAMES:
        return [0]
    starts = list(range(0, frames - FRAMES + 1, FRAMES))
    if frames % FRAMES >= FRAMES // 2:
        starts.append(frames - FRAMES)
    return starts


def service(catalogue, workers):
    """The application; each of `workers` threads computes one request at a time."""
    app = fastapi.FastAPI()
    pool = concurrent.futures.ThreadPoolExecutor(workers)

    @app.get("/readyz")
    async def ready():
        return {}

    @app.post("/v1/recommendations")
    async def recommend(request: fastapi.Request):
        audio = await request.body()
        return await asyncio.get_running_loop().run_in_executor(pool, catalogue.recommend, audio)

    return app


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--workers", type=int, default=40, help="requests computed at once (default: 40)")
    parser.add_argument("--threads", type=int, help="threads of a forward pass (default: one a core)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    app = service(Catalogue(arguments.data), arguments.workers)
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
