//! What a stream of bytes is, told from the bytes alone.

use std::io::{self, Cursor, Read};

use super::{Container, Found, mpeg};
use crate::audio::AudioError;

/// Bytes that are looked at first; every magic number and the heads of an Ogg's streams lie inside.
const HEAD: usize = 64 << 10;
/// Bytes of junk that may lie before the first MPEG frame.
const MAX_JUNK: usize = 1 << 20;
/// Frames that must lie end to end behind junk: random bytes do so once in 10^13 places.
const FRAMES_AFTER_JUNK: usize = 3;
/// ID3v2 and APE tags that are skipped one after the other.
const MAX_TAGS: usize = 16;

/// A stream from its first interesting byte on.
pub(super) type Stream = Box<dyn Read + Send + Sync>;

pub(super) enum Sniffed {
    /// Audio, and the stream from the container's first byte on: tags and junk are skipped.
    Audio(Container, Stream),
    /// Something else.
    Other(Found),
}

/// Tells what a stream holds.
///
/// Tags are skipped here rather than by a third-party probe, which gives up at junk that contains
/// "ID3". Nothing but the head of the stream is kept in memory.
pub(super) fn sniff(mut stream: Stream) -> Result<Sniffed, AudioError> {
    let mut head = Vec::new();
    for _ in 0..MAX_TAGS {
        fill(&mut head, &mut stream, HEAD)?;
        match leading_tag_len(&head) {
            Some(len) => skip(&mut head, &mut stream, len)?,
            None => break,
        }
    }
    if head.is_empty() {
        return Ok(Sniffed::Other(Found::Unknown));
    }
    match by_magic(&head) {
        Some(Verdict::Audio(container)) => return Ok(audio(container, head, 0, stream)),
        Some(Verdict::Other(found)) => return Ok(Sniffed::Other(found)),
        None => {}
    }
    if is_adts(&head) {
        return Ok(audio(Container::Adts, head, 0, stream));
    }
    // Two frames are far shorter than the head.
    let whole = head.len() < HEAD;
    if let Some(frame) = mpeg::frames_at(&head, 2, whole) {
        return Ok(mpeg_audio(frame, head, 0, stream));
    }
    fill(&mut head, &mut stream, MAX_JUNK)?;
    for at in 1..head.len() {
        if head[at] == 0xff
            && let Some(frame) = mpeg::frames_at(&head[at..], FRAMES_AFTER_JUNK, false)
        {
            return Ok(mpeg_audio(frame, head, at, stream));
        }
    }
    let text = is_text(&head[..head.len().min(HEAD)]);
    Ok(Sniffed::Other(if text {
        Found::Text
    } else {
        Found::Unknown
    }))
}

fn mpeg_audio(frame: mpeg::Frame, head: Vec<u8>, at: usize, stream: Stream) -> Sniffed {
    match frame.layer {
        1 => Sniffed::Other(Found::Mp1),
        2 => audio(Container::Mp2, head, at, stream),
        _ => audio(Container::Mp3, head, at, stream),
    }
}

fn audio(container: Container, mut head: Vec<u8>, at: usize, stream: Stream) -> Sniffed {
    head.drain(..at);
    Sniffed::Audio(container, Box::new(Cursor::new(head).chain(stream)))
}

/// Reads until the head has `len` bytes or the stream ends.
fn fill(head: &mut Vec<u8>, stream: &mut Stream, len: usize) -> io::Result<()> {
    let missing = len.saturating_sub(head.len()) as u64;
    stream.by_ref().take(missing).read_to_end(head)?;
    Ok(())
}

/// Drops the first `len` bytes of head and stream.
fn skip(head: &mut Vec<u8>, stream: &mut Stream, len: u64) -> io::Result<()> {
    let in_head = len.min(head.len() as u64);
    head.drain(..in_head as usize);
    io::copy(&mut stream.by_ref().take(len - in_head), &mut io::sink())?;
    Ok(())
}

/// Length of an ID3v2 or APEv2 tag at the start, as far as it claims one.
fn leading_tag_len(head: &[u8]) -> Option<u64> {
    // ID3v2: "ID3", version (2), flags (1), size (4 x 7 bits); flag 0x10 announces a footer.
    if let [b'I', b'D', b'3', major, minor, flags, size @ ..] = head
        && *major < 0xff
        && *minor < 0xff
        && let Some(size) = size.first_chunk::<4>()
        && size.iter().all(|byte| byte & 0x80 == 0)
    {
        let body = size.iter().fold(0, |sum, &byte| sum << 7 | u64::from(byte));
        let footer = if flags & 0x10 != 0 { 10 } else { 0 };
        return Some(10 + body + footer);
    }
    // APEv2: "APETAGEX", version (4), size without this header (4, little endian), ...
    if let Some(rest) = head.strip_prefix(b"APETAGEX")
        && let Some(size) = rest.get(4..8).and_then(|size| size.first_chunk::<4>())
    {
        return Some(32 + u64::from(u32::from_le_bytes(*size)));
    }
    None
}

enum Verdict {
    Audio(Container),
    Other(Found),
}

/// Formats that say who they are in their first bytes.
fn by_magic(head: &[u8]) -> Option<Verdict> {
    use Verdict::{Audio, Other};

    match head {
        [b'f', b'L', b'a', b'C', ..] => return Some(Audio(Container::Flac)),
        [b'O', b'g', b'g', b'S', ..] => return Some(ogg(head)),
        [b'R', b'I', b'F', b'F', _, _, _, _, form @ ..] => {
            return Some(match form.get(..4) {
                Some(b"WAVE") => Audio(Container::Wav),
                Some(b"WEBP") => Other(Found::Webp),
                Some(b"AVI ") => Other(Found::Avi),
                _ => Other(Found::UnknownRiff),
            });
        }
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => {
            return Some(match brand.get(..4) {
                Some(b"heic" | b"heix" | b"hevc" | b"mif1" | b"msf1" | b"avif" | b"avis") => {
                    Other(Found::Heif)
                }
                _ => Audio(Container::Mp4),
            });
        }
        // QuickTime files from before there was an `ftyp` box.
        [_, _, _, _, b'm', b'o', b'o', b'v', ..] | [_, _, _, _, b'm', b'd', b'a', b't', ..] => {
            return Some(Audio(Container::Mp4));
        }
        _ => {}
    }
    let known: [(&[u8], Found); 31] = [
        (b"RF64", Found::Rf64),
        (b"BW64", Found::Rf64),
        (b"FORM", Found::Aiff),
        (b"caff", Found::Caf),
        (b"wvpk", Found::WavPack),
        (b"MAC ", Found::MonkeysAudio),
        (b"MPCK", Found::Musepack),
        (b"MP+", Found::Musepack),
        (b"#!AMR", Found::Amr),
        (b"MThd", Found::Midi),
        (b"\x1a\x45\xdf\xa3", Found::Matroska),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Found::WindowsMedia),
        (b"FLV\x01", Found::FlashVideo),
        (b"\x00\x00\x01\xba", Found::MpegStream),
        (b"\x00\x00\x01\xb3", Found::MpegStream),
        (b"\x89PNG", Found::Png),
        (b"\xff\xd8\xff", Found::Jpeg),
        (b"GIF8", Found::Gif),
        (b"%PDF", Found::Pdf),
        (b"PK\x03\x04", Found::Zip),
        (b"PK\x05\x06", Found::Zip),
        (b"\x1f\x8b", Found::Archive),
        (b"\xfd7zXZ\x00", Found::Archive),
        (b"7z\xbc\xaf\x27\x1c", Found::Archive),
        (b"\x28\xb5\x2f\xfd", Found::Archive),
        (b"BZh", Found::Archive),
        (b"Rar!", Found::Archive),
        (b"\x7fELF", Found::Executable),
        (b"MZ\x90\x00", Found::Executable),
        (b"\xcf\xfa\xed\xfe", Found::Executable),
        (b"\x00asm", Found::Executable),
    ];
    known
        .iter()
        .find(|(magic, _)| head.starts_with(magic))
        .map(|&(_, found)| Other(found))
}

/// What the streams of an Ogg hold. Their first pages come before all others (RFC 3533, section 4).
fn ogg(head: &[u8]) -> Verdict {
    let (mut audio, mut opus, mut speex, mut video) = (false, false, false, false);
    let mut page = head;
    // Page: "OggS", version, type, granule (8), serial (4), sequence (4), CRC (4), segments, lengths.
    while page.starts_with(b"OggS") && page.get(5).is_some_and(|kind| kind & 2 != 0) {
        let Some(&segments) = page.get(26) else { break };
        let Some(lengths) = page.get(27..27 + usize::from(segments)) else {
            break;
        };
        let len: usize = lengths.iter().map(|&len| usize::from(len)).sum();
        let packet = &page[27 + lengths.len()..];
        audio |= packet.starts_with(b"\x01vorbis") || packet.starts_with(b"\x7fFLAC");
        opus |= packet.starts_with(b"OpusHead");
        speex |= packet.starts_with(b"Speex   ");
        video |= packet.starts_with(b"\x80theora");
        page = packet.get(len..).unwrap_or_default();
    }
    match (video, audio, opus, speex) {
        (true, ..) => Verdict::Other(Found::Video),
        (_, true, ..) => Verdict::Audio(Container::Ogg),
        (_, _, true, _) => Verdict::Other(Found::Opus),
        (.., true) => Verdict::Other(Found::Speex),
        _ => Verdict::Other(Found::UnknownOgg),
    }
}

/// Whether two ADTS frames lie end to end at the start, or one that ends the stream.
///
/// Header (ISO/IEC 13818-7, 6.2): sync (12 bits), version, layer = 0 (2), protection, profile (2), rate
/// (4), private, channels (3), 4 flags, frame length with header (13 bits), ...
fn is_adts(head: &[u8]) -> bool {
    let frame_len = |at: usize| {
        let header = head.get(at..at + 7)?;
        let rate = (header[2] >> 2) & 15;
        if header[0] != 0xff || header[1] & 0xf6 != 0xf0 || rate > 12 {
            return None;
        }
        let len = usize::from(header[3] & 3) << 11
            | usize::from(header[4]) << 3
            | usize::from(header[5]) >> 5;
        (len > 7).then_some(len)
    };
    match frame_len(0) {
        Some(len) if len + 7 <= head.len() => frame_len(len).is_some(),
        Some(_) => head.len() < HEAD,
        None => false,
    }
}

/// UTF-8 (as far as it goes) without control characters that text does not have.
fn is_text(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The cut may fall inside a character.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty()
        && text
            .chars()
            .all(|c| !c.is_control() || "\t\r\n\x0c".contains(c))
}
