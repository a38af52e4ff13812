//! What may be sent as a clip, and what is said of the rest.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::stream;
use reqwest::{
    Body, Method,
    multipart::{Form, Part},
};
use songkin::audio::{DecodeLimits, Decoder, IsolatedCommand, isolated};

use super::{SUNRISE, Server, demo_clip, demo_path, form, run};
use crate::support::ffmpeg;

const PATH: &str = "/v1/recommendations";

/// A mono WAV of so many samples of a soft sawtooth.
pub(super) fn wav(rate: u32, samples: u32) -> Vec<u8> {
    let bytes = samples * 2;
    let mut wav = Vec::new();
    wav.extend(b"RIFF");
    wav.extend((36 + bytes).to_le_bytes());
    wav.extend(b"WAVEfmt ");
    wav.extend(16_u32.to_le_bytes());
    wav.extend(1_u16.to_le_bytes());
    wav.extend(1_u16.to_le_bytes());
    wav.extend(rate.to_le_bytes());
    wav.extend((rate * 2).to_le_bytes());
    wav.extend(2_u16.to_le_bytes());
    wav.extend(16_u16.to_le_bytes());
    wav.extend(b"data");
    wav.extend(bytes.to_le_bytes());
    for sample in 0..samples {
        wav.extend(((sample * 97 % 8000) as i16 - 4000).to_le_bytes());
    }
    wav
}

/// Sunrise in another format.
fn recoded(extension: &str, options: &[&str]) -> Vec<u8> {
    let source = demo_path(SUNRISE);
    let mut args = vec!["-i", source.to_str().unwrap()];
    args.extend(options);
    ffmpeg(extension, &args)
}

pub(super) fn m4a() -> Vec<u8> {
    recoded("m4a", &["-t", "6", "-c:a", "aac"])
}

/// Bytes that follow no pattern that a decoder would know; the same ones every time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut noise = Vec::with_capacity(length + 8);
    while noise.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend(state.to_le_bytes());
    }
    noise.truncate(length);
    noise
}

#[test]
fn every_format_is_heard_whatever_it_is_called() {
    run(async {
        let server = Server::shared().await;
        for (extension, options, codec) in [
            ("mp3", &["-b:a", "64k"][..], "mp3"),
            ("wav", &["-ar", "22050"], "pcm_s16le"),
            ("flac", &["-t", "10"], "flac"),
            ("ogg", &["-c:a", "libvorbis"], "vorbis"),
            ("aac", &["-c:a", "aac", "-f", "adts"], "aac"),
        ] {
            let clip = recoded(extension, options);
            let answer = server.post(PATH, clip).await.json();
            assert_eq!(answer["query"]["source"]["codec"], codec);
            let first = &answer["results"][0];
            assert_eq!(first["track"]["id"], SUNRISE, "{extension}");
            assert_eq!(first["same_recording"], true, "{extension}");
        }
    });
}

/// The real program decodes it in a child of its own; no other test needs the program that is built
/// beside this one.
#[test]
fn an_m4a_is_decoded_by_the_program_in_a_child() {
    run(async {
        let server = Server::start(|parts| {
            let command = IsolatedCommand {
                program: env!("CARGO_BIN_EXE_songkin-server").into(),
                args: vec![isolated::SUBCOMMAND.into()],
            };
            parts.decoder = Decoder::new(DecodeLimits::default(), Some(command));
        })
        .await;
        let answer = server.post(PATH, m4a()).await.json();
        assert_eq!(answer["query"]["source"]["codec"], "aac");
        assert_eq!(answer["results"][0]["track"]["id"], SUNRISE);
        assert_eq!(answer["results"][0]["same_recording"], true);
    });
}

/// More than the 2 MB that the HTTP library takes of a form unless it is told otherwise.
#[test]
fn a_large_clip_is_taken_either_way_and_leaves_nothing_behind() {
    run(async {
        let server = Server::start(|_| {}).await;
        let clip = recoded("wav", &["-ac", "2", "-ar", "48000"]);
        assert!(clip.len() > 4 << 20);
        for answer in [
            server.post(PATH, clip.clone()).await,
            server.post_form(PATH, form(clip)).await,
        ] {
            assert_eq!(answer.result_ids()[0], u64::from(SUNRISE));
        }
        assert_eq!(server.spooled(), 0);
    });
}

/// A connection on which an upload of 9 MB has begun: 3 MiB of it are sent.
fn a_third_of_an_upload(server: &Server) -> TcpStream {
    let mut client = TcpStream::connect(server.address).unwrap();
    let head =
        format!("POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9000000\r\n\r\n");
    client.write_all(head.as_bytes()).unwrap();
    client.write_all(&noise(3 << 20)).unwrap();
    client
}

#[test]
fn an_upload_that_is_given_up_leaves_nothing_behind() {
    run(async {
        let server = Server::start(|_| {}).await;
        server.get("/livez").await.expect(204);
        let client = a_third_of_an_upload(&server);
        let until = |wanted: usize| {
            let server = &server;
            async move {
                let deadline = Instant::now() + Duration::from_secs(10);
                while server.spooled() != wanted {
                    assert!(Instant::now() < deadline, "{} files", server.spooled());
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        };
        until(1).await;
        // Another server that starts beside this one, in an upgrade, leaves the upload alone.
        let spool = server.home.path().join("spool");
        fs::write(spool.join("left-by-a-crash"), "x").unwrap();
        songkin::api::Spool::open(&spool, 1 << 20, 1 << 20).unwrap();
        assert_eq!(server.spooled(), 1);
        drop(client);
        until(0).await;
    });
}

#[test]
fn uploads_together_are_bounded() {
    run(async {
        let server = Server::start(|parts| parts.settings.server.max_spool_mib = 4).await;
        server.get("/livez").await.expect(204);
        let client = a_third_of_an_upload(&server);
        server
            .until_counted("songkin_spool_bytes", f64::from(3 << 20))
            .await;
        let refused = server.post(PATH, noise(3 << 20)).await;
        let problem = refused.problem(503, "overloaded");
        assert!(
            problem["detail"].as_str().unwrap().contains("room"),
            "{problem}"
        );
        assert_eq!(refused.header("retry-after"), "2");
        // What stays in memory needs none.
        server.post(PATH, demo_clip(SUNRISE)).await.expect(200);
        drop(client);
    });
}

#[test]
fn no_clip_is_told_as_such() {
    run(async {
        let server = Server::shared().await;
        server.post(PATH, "").await.problem(400, "no-audio");
        let request = server.request(Method::POST, PATH);
        server.send(request).await.problem(400, "no-audio");
        let empty = server.post_form(PATH, form(Vec::new())).await;
        empty.problem(400, "no-audio");
        let other = Form::new().text("k", "3");
        let problem = server.post_form(PATH, other).await.problem(400, "no-audio");
        assert_eq!(problem["detail"], "the form has no part named `file`");
    });
}

#[test]
fn what_is_no_audio_that_can_be_decoded_is_told_with_what_can() {
    run(async {
        let server = Server::shared().await;
        let opus = recoded("opus", &["-t", "5", "-c:a", "libopus"]);
        for (clip, found) in [
            (b"Dear Sir or Madam,\nthis is a letter.\n".to_vec(), "text"),
            (opus, "Opus"),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec(), "PNG"),
            (b"%PDF-1.7\n%\xE2\xE3\xCF\xD3\n".to_vec(), "PDF"),
        ] {
            let part = Part::bytes(clip.clone())
                .file_name("song.mp3")
                .mime_str("audio/mpeg");
            let named = Form::new().part("file", part.unwrap());
            for answer in [
                server.post_form(PATH, named).await,
                server.post(PATH, clip).await,
            ] {
                let problem = answer.problem(415, "unsupported-audio");
                let detail = problem["detail"].as_str().unwrap();
                assert!(
                    detail.contains(found) && detail.contains("FLAC"),
                    "{detail}"
                );
            }
        }
    });
}

#[test]
fn a_type_that_is_no_audio_is_refused_by_its_name() {
    run(async {
        let server = Server::shared().await;
        for media in [
            "text/plain",
            "application/json",
            "application/x-www-form-urlencoded",
            "nonsense",
        ] {
            let request = server
                .request(Method::POST, PATH)
                .header("content-type", media);
            let answer = server.send(request.body(demo_clip(SUNRISE))).await;
            let problem = answer.problem(415, "unsupported-audio");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("multipart/form-data"), "{detail}");
        }
    });
}

#[test]
fn a_damaged_clip_is_heard_as_far_as_it_goes() {
    run(async {
        let server = Server::shared().await;
        let mut clip = demo_clip(SUNRISE);
        clip.truncate(clip.len() / 2);
        let answer = server.post(PATH, clip.clone()).await.json();
        let seconds = answer["query"]["seconds"].as_f64().unwrap();
        assert!((12.0..14.0).contains(&seconds), "{seconds}");
        assert_eq!(answer["results"][0]["same_recording"], true);

        // Headers that claim 4 GB, as a recorder writes them into a pipe.
        let mut riff = wav(44_100, 44_100 * 3);
        for size in [4, 40] {
            riff[size..size + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        }
        let answer = server.post(PATH, riff).await.json();
        let seconds = answer["query"]["seconds"].as_f64().unwrap();
        assert!((2.9..3.1).contains(&seconds), "{seconds}");
    });
}

#[test]
fn a_clip_that_cannot_be_used_is_told_why() {
    run(async {
        let server = Server::shared().await;
        let short = server.post(PATH, wav(16_000, 399)).await;
        let problem = short.problem(422, "undecodable-audio");
        assert!(problem["detail"].as_str().unwrap().contains("399 samples"));
        for clip in [wav(16_000, 0), wav(1_000, 30_000)] {
            server
                .post(PATH, clip)
                .await
                .problem(422, "undecodable-audio");
        }
        let syncs = b"\xFF\xFB".repeat(1 << 20);
        let answer = server.post(PATH, syncs).await;
        assert!([415, 422].contains(&answer.status), "{}", answer.status);
    });
}

#[test]
fn a_form_that_is_not_well_formed_is_told_as_such() {
    run(async {
        let server = Server::shared().await;
        let whole = "--b\r\ncontent-disposition: form-data; name=\"file\"\r\n\r\nclip\r\n--b--\r\n";
        for (media, body) in [
            ("multipart/form-data", whole),
            ("multipart/form-data; boundary=b", ""),
            (
                "multipart/form-data; boundary=b",
                &whole[..whole.len() - 10],
            ),
            ("multipart/form-data; boundary=other", whole),
            (
                "multipart/form-data; boundary=b",
                "--b\r\ncontent-disposition: form-data; name=\"k\"\r\n\r\n\u{1}\r\n--b\r\nx",
            ),
        ] {
            let request = server
                .request(Method::POST, PATH)
                .header("content-type", media);
            let answer = server.send(request.body(body.to_owned())).await;
            answer.problem(400, "malformed-request");
        }
        let clip = || Part::bytes(demo_clip(SUNRISE));
        let two = Form::new().part("file", clip()).part("file", clip());
        let problem = server
            .post_form(PATH, two)
            .await
            .problem(400, "malformed-request");
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("more than one")
        );
        let not_utf8 = form(demo_clip(SUNRISE)).part("genre", Part::bytes(&b"\xFF\xFE"[..]));
        let answer = server.post_form(PATH, not_utf8).await;
        answer.problem(400, "malformed-request");
    });
}

#[test]
fn a_form_is_bounded_beside_its_file_too() {
    run(async {
        let server = Server::shared().await;
        let long = form(demo_clip(SUNRISE)).text("genre", "x".repeat(300 << 10));
        server
            .post_form(PATH, long)
            .await
            .problem(413, "body-too-large");
        let mut many = Form::new();
        for _ in 0..2001 {
            many = many.text("genre", "Rock");
        }
        let answer = server.post_form(PATH, many).await;
        answer.problem(400, "malformed-request");
        let mut several = form(demo_clip(SUNRISE));
        for _ in 0..1001 {
            several = several.text("genre", "Rock");
        }
        assert_eq!(server.post_form(PATH, several).await.faults(), ["genre"]);
    });
}

/// A body that comes in pieces, without a length in the head.
fn in_pieces(count: usize) -> Body {
    let piece = Bytes::from(noise(1 << 20));
    Body::wrap_stream(stream::iter(
        (0..count).map(move |_| Ok::<_, std::io::Error>(piece.clone())),
    ))
}

#[test]
fn an_upload_beyond_the_limit_gets_to_read_why() {
    run(async {
        let small = Server::start(|parts| parts.settings.server.max_body_mib = 1).await;
        let announced = || vec![0; 20 << 20];
        for answer in [
            small.post(PATH, announced()).await,
            small.post_form(PATH, form(announced())).await,
            small.post(PATH, in_pieces(20)).await,
            small
                .post_form(PATH, Form::new().part("file", Part::stream(in_pieces(20))))
                .await,
        ] {
            let problem = answer.problem(413, "body-too-large");
            assert!(
                problem["detail"]
                    .as_str()
                    .unwrap()
                    .contains("1048576 bytes"),
                "{problem}"
            );
        }
        assert_eq!(small.spooled(), 0);
        let fits = small.post(PATH, demo_clip(SUNRISE)).await;
        assert_eq!(fits.result_ids()[0], u64::from(SUNRISE));
    });
}

#[test]
fn two_hundred_megabytes_of_noise_are_refused() {
    run(async {
        let server = Server::shared().await;
        let answer = server.post(PATH, in_pieces(200)).await;
        answer.problem(413, "body-too-large");
        assert_eq!(server.spooled(), 0);
    });
}

/// A client that asks before it sends (`Expect: 100-continue`) is refused before it sends.
#[test]
fn a_client_that_asks_first_is_refused_before_it_sends() {
    run(async {
        let server = Server::shared().await;
        server.get("/livez").await.expect(204);
        let address = server.address;
        let answer = tokio::task::spawn_blocking(move || {
            let mut client = TcpStream::connect(address).unwrap();
            client
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            let head = format!(
                "POST {PATH} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                 expect: 100-continue\r\ncontent-length: 200000000\r\n\r\n"
            );
            client.write_all(head.as_bytes()).unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            answer
        });
        let answer = answer.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    });
}
