//! Uploaded clips: what of a request is the clip, and what are parameters.

use axum::{
    body::Body,
    extract::{DefaultBodyLimit, FromRequest, Multipart, Request},
    http::{HeaderMap, header},
};

use super::{
    App, Kind, Problem,
    params::Params,
    spool::{Place, Spooled, Stored},
};
use crate::{
    keys::{Pass, Reserved},
    recommend::{ClipSource, Ticket, UploadedClip},
};

/// Form fields beside the file, all together, bytes.
const MAX_FIELDS: usize = 256 << 10;
/// What a form adds to its file: fields and the lines between the parts, bytes.
const MAX_FORM_OVERHEAD: u64 = 1 << 20;
/// Parts of a form.
const MAX_PARTS: usize = 2000;

/// A clip that has arrived whole, with its place among the others.
pub(super) struct Upload {
    stored: Stored,
    ticket: Ticket,
    reserved: Reserved,
}

/// What has to be kept until a clip was heard.
pub(super) struct Kept {
    /// Removed when this is dropped.
    _file: Option<Spooled>,
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
            Place::Spooled(file) => (ClipSource::File(file.path()), Some(file)),
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
    let whole = app.spool.max_file().saturating_add(MAX_FORM_OVERHEAD);
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
