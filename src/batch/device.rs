//! The device thread: takes what has queued and computes it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use candle_core::Device;

use super::{
    BatchError,
    passes::Passes,
    queue::{Request, Shared, Work, next_work},
};

pub(super) fn run(shared: &Shared, device: &Device, mut passes: Passes) {
    while let Some(work) = next_work(shared) {
        match work {
            Work::Call(call) => call(device, &mut passes),
            Work::Batch(batch) => compute(shared, batch, &mut passes),
        }
    }
}

fn compute(shared: &Shared, batch: Vec<Request>, passes: &mut Passes) {
    let windows: Vec<&[f32]> = batch
        .iter()
        .flat_map(|request| request.windows.iter().map(Vec::as_slice))
        .collect();
    let started = Instant::now();
    // One long request may hold more windows than a pass takes.
    let wanted = || batch.iter().any(|request| !request.reply.is_closed());
    let result = batch.first().map_or(Ok(Vec::new()), |first| {
        passes.encode(&*first.encoder, &windows, &shared.batches, wanted)
    });
    let seconds = started.elapsed().as_secs_f64();
    shared.histograms.seconds.observe(seconds);
    shared.histograms.windows.observe(windows.len() as f64);
    let busy = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    shared.busy_micros.fetch_add(busy, Ordering::Relaxed);
    shared
        .windows
        .fetch_add(windows.len() as u64, Ordering::Relaxed);
    // A failed send is a caller that left in the meantime.
    match result {
        Ok(embeddings) => {
            let mut embeddings = embeddings.into_iter();
            for request in batch {
                let own = embeddings.by_ref().take(request.windows.len()).collect();
                let _ = request.reply.send(Ok(own));
            }
        }
        Err(error) => {
            let error = Arc::new(error);
            for request in batch {
                let _ = request
                    .reply
                    .send(Err(BatchError::from_encoder(Arc::clone(&error))));
            }
        }
    }
}
