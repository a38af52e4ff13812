//! Files that no honest encoder writes.

/// A WAV file with any claims about itself.
pub(super) struct Wav {
    pub(super) format: u16,
    pub(super) channels: u16,
    pub(super) rate: u32,
    pub(super) bits: u16,
    /// Size that the data chunk claims; its real one where `None`.
    pub(super) claimed_bytes: Option<u32>,
}

impl Wav {
    pub(super) const PCM: u16 = 1;
    pub(super) const FLOAT: u16 = 3;

    pub(super) fn write(&self, data: &[u8]) -> Vec<u8> {
        let claimed = self.claimed_bytes.unwrap_or(data.len() as u32);
        let block = self.channels * (self.bits / 8);
        let mut file = Vec::new();
        file.extend(b"RIFF");
        file.extend(claimed.saturating_add(36).to_le_bytes());
        file.extend(b"WAVEfmt ");
        file.extend(16u32.to_le_bytes());
        file.extend(self.format.to_le_bytes());
        file.extend(self.channels.to_le_bytes());
        file.extend(self.rate.to_le_bytes());
        file.extend(self.rate.wrapping_mul(u32::from(block)).to_le_bytes());
        file.extend(block.to_le_bytes());
        file.extend(self.bits.to_le_bytes());
        file.extend(b"data");
        file.extend(claimed.to_le_bytes());
        file.extend(data);
        file
    }

    /// 32-bit float.
    pub(super) fn of_floats(channels: u16, rate: u32, samples: &[f32]) -> Vec<u8> {
        let data: Vec<u8> = samples
            .iter()
            .flat_map(|sample| sample.to_le_bytes())
            .collect();
        Self {
            format: Self::FLOAT,
            channels,
            rate,
            bits: 32,
            claimed_bytes: None,
        }
        .write(&data)
    }

    /// 16-bit integers.
    pub(super) fn of_ints(channels: u16, rate: u32, samples: &[i16]) -> Vec<u8> {
        let data: Vec<u8> = samples
            .iter()
            .flat_map(|sample| sample.to_le_bytes())
            .collect();
        Self {
            format: Self::PCM,
            channels,
            rate,
            bits: 16,
            claimed_bytes: None,
        }
        .write(&data)
    }
}

/// A FLAC file of silence whose frames are constant: about 8 bytes for a second and a half.
pub(super) fn silent_flac(frames: u32) -> Vec<u8> {
    const BLOCK: u16 = u16::MAX;
    let mut file = b"fLaC".to_vec();
    // STREAMINFO, the last block: 34 bytes of block sizes, frame sizes, format, length, MD5.
    file.extend([0x80, 0, 0, 34]);
    file.extend(BLOCK.to_be_bytes());
    file.extend(BLOCK.to_be_bytes());
    file.extend([0; 6]);
    let samples = u64::from(frames) * u64::from(BLOCK);
    let format = 44_100u64 << 44 | 1 << 41 | 15 << 36 | samples;
    file.extend(format.to_be_bytes());
    file.extend([0; 16]);
    for number in 0..frames {
        let start = file.len();
        // Sync and fixed block size; 16-bit block size follows, 44.1 kHz; two channels, 16 bits.
        file.extend([0xff, 0xf8, 0x79, 0x18]);
        file.extend(coded_number(number));
        file.extend((BLOCK - 1).to_be_bytes());
        file.push(crc8(&file[start..]));
        // Two subframes: constant, zero.
        file.extend([0, 0, 0, 0, 0, 0]);
        file.extend(crc16(&file[start..]).to_be_bytes());
    }
    file
}

/// A frame number in UTF-8's scheme.
fn coded_number(number: u32) -> Vec<u8> {
    let mut buffer = [0; 4];
    // The scheme of FLAC also codes numbers that are no characters; none of those is used here.
    char::from_u32(number)
        .unwrap()
        .encode_utf8(&mut buffer)
        .as_bytes()
        .to_vec()
}

fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ byte, |crc, _| {
            if crc & 0x80 != 0 {
                crc << 1 ^ 0x07
            } else {
                crc << 1
            }
        })
    })
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| {
            if crc & 0x8000 != 0 {
                crc << 1 ^ 0x8005
            } else {
                crc << 1
            }
        })
    })
}

/// Bytes that look like nothing (xorshift).
pub(super) fn junk(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// The first page of an Ogg stream that holds this identification packet.
pub(super) fn ogg_head(packet: &[u8]) -> Vec<u8> {
    let mut page = b"OggS\0\x02".to_vec();
    page.extend([0; 8 + 4 + 4 + 4]);
    page.extend([1, packet.len() as u8]);
    page.extend(packet);
    page
}

/// Where `needle` first lies in `bytes`.
pub(super) fn find(bytes: &[u8], needle: &[u8]) -> usize {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
        .expect("needle is there")
}
