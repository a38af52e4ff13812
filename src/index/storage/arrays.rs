//! Numbers as little-endian bytes.

/// A number that an array file holds.
pub(super) trait Number: Copy {
    /// Bytes of one.
    const BYTES: usize;
    fn write(self, out: &mut Vec<u8>);
    /// `bytes` has [`Number::BYTES`].
    fn read(bytes: &[u8]) -> Self;
}

macro_rules! number {
    ($($type:ty),*) => {$(
        impl Number for $type {
            const BYTES: usize = size_of::<$type>();

            #[inline]
            fn write(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            #[inline]
            fn read(bytes: &[u8]) -> Self {
                let mut own = [0; size_of::<$type>()];
                own.copy_from_slice(bytes);
                Self::from_le_bytes(own)
            }
        }
    )*};
}

number!(u8, u32, i64, f32);
