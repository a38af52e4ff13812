//! Just enough of the MPEG audio frame header to find the first frame behind junk.
//!
//! ISO/IEC 11172-3 and 13818-3, section 2.4.1.3: 11 sync bits, version (2), layer (2), protection,
//! bit rate (4), sample rate (2), padding, private, channel mode (2), ...

/// Bytes of a frame header.
pub(super) const HEADER: usize = 4;

/// Bit rates in kbit/s by index; 0 marks the free format, which no reader here supports.
const V1_LAYER1: [u32; 15] = [
    0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448,
];
const V1_LAYER2: [u32; 15] = [
    0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384,
];
const V1_LAYER3: [u32; 15] = [
    0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
];
const V2_LAYER1: [u32; 15] = [
    0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256,
];
const V2_LAYER23: [u32; 15] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];

/// Sample rates of version 1 by index; version 2 has half, version 2.5 a quarter of it.
const V1_RATES: [u32; 3] = [44_100, 48_000, 32_000];

/// What all frames of one stream have in common, and the length of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// 1, 2 or 3.
    pub(super) layer: u32,
    /// Version and sample rate: the same in each frame of a stream.
    stream: (u32, u32),
    /// Bytes of the frame with its header.
    pub(super) len: usize,
}

impl Frame {
    /// Reads the header at the start of `bytes`.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let header = u32::from_be_bytes(bytes.get(..HEADER)?.try_into().ok()?);
        if header >> 21 != 0x7ff {
            return None;
        }
        let version = (header >> 19) & 3;
        let layer = match (header >> 17) & 3 {
            0 => return None,
            bits => 4 - bits,
        };
        let rate_index = ((header >> 10) & 3) as usize;
        let rate = V1_RATES.get(rate_index)?
            >> match version {
                3 => 0,
                2 => 1,
                0 => 2,
                _ => return None,
            };
        let kilobits = match (version, layer) {
            (3, 1) => V1_LAYER1,
            (3, 2) => V1_LAYER2,
            (3, _) => V1_LAYER3,
            (_, 1) => V2_LAYER1,
            _ => V2_LAYER23,
        };
        let bits = kilobits
            .get(((header >> 12) & 15) as usize)
            .filter(|&&k| k > 0)?
            * 1_000;
        let padding = (header >> 9) & 1;
        // Layer I counts in slots of four bytes; layer III halves its frames in versions 2 and 2.5.
        let len = match (version, layer) {
            (_, 1) => (12 * bits / rate + padding) * 4,
            (3, _) | (_, 2) => 144 * bits / rate + padding,
            _ => 72 * bits / rate + padding,
        };
        Some(Self {
            layer,
            stream: (version, rate),
            len: len as usize,
        })
    }

    fn continues(self, next: Self) -> bool {
        self.layer == next.layer && self.stream == next.stream
    }
}

/// Whether `wanted` frames of one stream lie end to end at the start of `bytes`; fewer are enough where
/// the bytes end (`whole`) after them.
pub(super) fn frames_at(bytes: &[u8], wanted: usize, whole: bool) -> Option<Frame> {
    let first = Frame::parse(bytes)?;
    let (mut frame, mut at) = (first, 0);
    for _ in 1..wanted {
        at += frame.len;
        if whole && at + HEADER > bytes.len() {
            break;
        }
        frame = Frame::parse(bytes.get(at..)?).filter(|&next| first.continues(next))?;
    }
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_follow_the_standard() {
        let len = |header: [u8; 4]| Frame::parse(&header).map(|frame| (frame.layer, frame.len));
        assert_eq!(
            len([0xff, 0xfb, 0x90, 0x64]),
            Some((3, 417)),
            "128 kbit/s at 44.1 kHz"
        );
        assert_eq!(
            len([0xff, 0xfb, 0x92, 0x64]),
            Some((3, 418)),
            "with padding"
        );
        assert_eq!(
            len([0xff, 0xf3, 0x88, 0xc4]),
            Some((3, 288)),
            "64 kbit/s at 16 kHz"
        );
        assert_eq!(
            len([0xff, 0xfd, 0xa4, 0x04]),
            Some((2, 576)),
            "layer II, 192 kbit/s at 48 kHz"
        );
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for header in [
            [0xff, 0xfb, 0x00, 0x64],
            [0xff, 0xfb, 0xf0, 0x64],
            [0xff, 0xfb, 0x9c, 0x64],
            [0xff, 0xeb, 0x90, 0x64],
            [0xff, 0xf1, 0x50, 0x80],
            [0x7f, 0xfb, 0x90, 0x64],
        ] {
            assert_eq!(Frame::parse(&header), None, "{header:x?}");
        }
        assert_eq!(Frame::parse(&[0xff, 0xfb]), None);
    }
}
