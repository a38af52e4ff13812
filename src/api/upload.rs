//! Uploaded clips: from the wire to a bounded, private spool.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use axum::{
    body::Body,
    extract::{DefaultBodyLimit, FromRequest, Multipart, Request},
    http::{HeaderMap, header},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;

use super::{App, Kind, Problem, params::Params};
use crate::{
    keys::{Pass, Reserved},
    recommend::{ClipSource, Ticket, UploadedClip},
};

/// Uploads up to this size stay in memory: most clips, and no file is made for them.
const IN_MEMORY: usize = 1 << 20;
/// Form fields beside the file, all together, bytes.
const MAX_FIELDS: usize = 256 << 10;
/// What a form adds to its file: fields and the lines between the parts, bytes.
const MAX_FORM_OVERHEAD: u64 = 1 << 20;
/// Parts of a form.
const MAX_PARTS: usize = 2000;

/// A directory for uploads that are being decoded.
///
/// Two servers may share it, as they do for a while when one takes over from the other: each file is locked by the
/// server that reads it.
pub struct Spool {
    dir: PathBuf,
    max_bytes: u64,
}

impl Spool {
    /// Opens the spool and clears what a crash has left in it, but not what another server is at.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made or cleared.
    pub fn open(dir: impl Into<PathBuf>, max_bytes: u64) -> io::Result<Self> {
        let dir = dir.into();
        fs::create_dir_all(&dir)?;
        restrict(&dir)?;
        for entry in fs::read_dir(&dir)? {
            match remove_unless_held(&entry?.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(Self { dir, max_bytes })
    }

    /// Refuses an upload that announces itself as too large, before any of it is read.
    fn admit(&self, headers: &HeaderMap, overhead: u64) -> Result<(), Problem> {
        let announced = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        match announced {
            Some(bytes) if bytes > self.max_bytes.saturating_add(overhead) => Err(self.too_large()),
            _ => Ok(()),
        }
    }

    fn too_large(&self) -> Problem {
        Problem::with(
            Kind::BodyTooLarge,
            format!(
                "the server takes {} bytes at most; send a shorter clip",
                self.max_bytes
            ),
        )
    }

    async fn store<E: Into<Problem>>(
        &self,
        chunks: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<Stored, Problem> {
        let mut chunks = std::pin::pin!(chunks);
        let mut hash = Sha256::new();
        let mut head = Vec::new();
        let mut file: Option<(NamedTempFile, tokio::fs::File)> = None;
        let mut size = 0;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(Into::into)?;
            size += chunk.len() as u64;
            if size > self.max_bytes {
                return Err(self.too_large());
            }
            hash.update(&chunk);
            match &mut file {
                Some((_, writer)) => writer
                    .write_all(&chunk)
                    .await
                    .map_err(|error| Problem::internal(&error))?,
                None if head.len() + chunk.len() <= IN_MEMORY => head.extend_from_slice(&chunk),
                None => {
                    let (named, mut writer) =
                        self.create().map_err(|error| Problem::internal(&error))?;
                    for part in [head.as_slice(), &chunk] {
                        writer
                            .write_all(part)
                            .await
                            .map_err(|error| Problem::internal(&error))?;
                    }
                    head = Vec::new();
                    file = Some((named, writer));
                }
            }
        }
        let place = match file {
            Some((named, mut writer)) => {
                writer
                    .flush()
                    .await
                    .map_err(|error| Problem::internal(&error))?;
                Place::Spooled(named)
            }
            None => Place::Memory(head.into()),
        };
        Ok(Stored {
            place,
            sha256: hash.finalize().into(),
        })
    }

    fn create(&self) -> io::Result<(NamedTempFile, tokio::fs::File)> {
        loop {
            let named = NamedTempFile::new_in(&self.dir)?;
            let held = hold(named.as_file())?;
            // A server that was just opening the spool may have found the file before it was locked.
            if held && named.path().exists() {
                let writer = tokio::fs::File::from_std(named.reopen()?);
                return Ok((named, writer));
            }
        }
    }
}

/// Locks a file of the spool for as long as it is open; false where somebody else holds it.
fn hold(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Removes a file of the spool that no server is at.
fn remove_unless_held(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    if hold(&file)? {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// The bytes of a clip.
struct Stored {
    place: Place,
    sha256: [u8; 32],
}

/// Where they are. A spooled file is removed when this is dropped.
enum Place {
    Memory(Bytes),
    Spooled(NamedTempFile),
}

/// A clip that has arrived whole, with its place among the others.
pub(super) struct Upload {
    stored: Stored,
    ticket: Ticket,
    reserved: Reserved,
}

/// What has to be kept until a clip was heard.
pub(super) struct Kept {
    /// Removed when this is dropped.
    _file: Option<NamedTempFile>,
    reserved: Reserved,
}

impl Kept {
    /// The clip was heard, so many seconds of it: that is what it costs.
    pub(super) fn heard(self, seconds: f64) {
        self.reserved.heard(seconds);
    }
}

impl Upload {
    /// The clip as it is heard, and what has to be kept until it was.
    pub(super) fn into_clip(self) -> (UploadedClip, Kept) {
        let Stored { place, sha256 } = self.stored;
        let (source, file) = match place {
            Place::Memory(bytes) => (ClipSource::Bytes(bytes), None),
            Place::Spooled(file) => (ClipSource::File(file.path().to_path_buf()), Some(file)),
        };
        let clip = UploadedClip {
            source,
            sha256,
            ticket: self.ticket,
        };
        let kept = Kept {
            _file: file,
            reserved: self.reserved,
        };
        (clip, kept)
    }
}

/// Reads the clip and all parameters of a request: multipart with a part `file`, the other parts
/// being parameters, or the clip as the raw body. Nothing is read where the clip would wait too long or
/// the caller's key has no audio left.
pub(super) async fn receive(app: &App, request: Request) -> Result<(Upload, Params), Problem> {
    let mut params = Params::of_query(request.uri().query());
    let media = media_type(request.headers())?;
    let reserved = reserve(app, &request)?;
    let ticket = app.recommender.admit()?;
    let stored = match media {
        Media::Form => receive_form(app, request, &mut params).await?,
        Media::Audio => {
            app.spool.admit(request.headers(), 0)?;
            let body: Body = request.into_body();
            app.spool.store(body.into_data_stream()).await?
        }
    };
    if matches!(&stored.place, Place::Memory(bytes) if bytes.is_empty()) {
        return Err(Problem::with(
            Kind::NoAudio,
            "the clip is empty; send the bytes of an audio file",
        ));
    }
    let upload = Upload {
        stored,
        ticket,
        reserved,
    };
    Ok((upload, params))
}

/// Sets aside what the caller's key may pay for the clip.
fn reserve(app: &App, request: &Request) -> Result<Reserved, Problem> {
    let pass = request.extensions().get::<Pass>();
    match pass.and_then(|pass| pass.usage.as_ref()) {
        Some(usage) => Ok(usage.reserve_audio(app.settings.audio.max_query_seconds)?),
        None => Ok(Reserved::unbounded()),
    }
}

async fn receive_form(
    app: &App,
    mut request: Request,
    params: &mut Params,
) -> Result<Stored, Problem> {
    app.spool.admit(request.headers(), MAX_FORM_OVERHEAD)?;
    // In place of axum's own limit of 2 MB. The spool bounds the file; this bounds the rest.
    let whole = app.spool.max_bytes.saturating_add(MAX_FORM_OVERHEAD);
    DefaultBodyLimit::max(usize::try_from(whole).unwrap_or(usize::MAX)).apply(&mut request);
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|error| Problem::with(Kind::MalformedRequest, error.body_text()))?;
    let mut upload = None;
    let mut room = MAX_FIELDS;
    for _ in 0..MAX_PARTS {
        let Some(part) = form.next_field().await? else {
            return upload
                .ok_or_else(|| Problem::with(Kind::NoAudio, "the form has no part named `file`"));
        };
        let name = part.name().unwrap_or_default().to_owned();
        if name == "file" {
            if upload.is_some() {
                return Err(Problem::with(
                    Kind::MalformedRequest,
                    "the form has more than one part named `file`",
                ));
            }
            upload = Some(app.spool.store(part).await?);
        } else {
            let value = read_field(part, &mut room).await?;
            params.push(name, value);
        }
    }
    Err(Problem::with(
        Kind::MalformedRequest,
        format!("the form has more than {MAX_PARTS} parts"),
    ))
}

async fn read_field(
    mut part: axum::extract::multipart::Field<'_>,
    room: &mut usize,
) -> Result<String, Problem> {
    let mut bytes = Vec::new();
    while let Some(chunk) = part.chunk().await? {
        *room = room.checked_sub(chunk.len()).ok_or_else(|| {
            Problem::with(
                Kind::BodyTooLarge,
                format!("the form's fields have more than {MAX_FIELDS} bytes beside the file"),
            )
        })?;
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes)
        .map_err(|_| Problem::with(Kind::MalformedRequest, "a form field is not UTF-8"))
}

enum Media {
    Form,
    Audio,
}

/// Any audio type will do, and so will none: what the clip is, its bytes tell.
fn media_type(headers: &HeaderMap) -> Result<Media, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(Media::Audio);
    };
    let media: Option<mime::Mime> = value.to_str().ok().and_then(|text| text.parse().ok());
    match media {
        Some(media) if media.essence_str() == "multipart/form-data" => Ok(Media::Form),
        Some(media) if media.type_() == mime::AUDIO => Ok(Media::Audio),
        Some(media)
            if ["application/octet-stream", "application/ogg", "video/mp4"]
                .contains(&media.essence_str()) =>
        {
            Ok(Media::Audio)
        }
        _ => Err(Problem::with(
            Kind::UnsupportedAudio,
            "send the clip as `multipart/form-data` in a part named `file`, or as the body with an `audio/...` Content-Type",
        )),
    }
}

#[cfg(unix)]
fn restrict(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn restrict(_dir: &Path) -> io::Result<()> {
    Ok(())
}
