//! Bytes that begin where a cache line does.

/// 64 bytes, aligned. Activations are read again for every few rows of weights: where they begin at a line, no load of a register of 64 bytes touches two lines
/// (a tenth of the time of four tokens on a Xeon of 2023). Nothing depends on it but time.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Line([u8; 64]);

impl Line {
    /// Zeros.
    pub const ZERO: Line = Line([0; 64]);
    /// Bytes of a line.
    pub const BYTES: usize = size_of::<Line>();

    /// The bytes of lines.
    pub fn bytes(lines: &[Line]) -> &[u8] {
        // SAFETY: a line is 64 bytes without padding, and lines lie side by side.
        unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), size_of_val(lines)) }
    }

    /// The bytes of lines.
    pub fn bytes_mut(lines: &mut [Line]) -> &mut [u8] {
        // SAFETY: as above; every byte is valid in a line.
        unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), size_of_val(lines)) }
    }
}

#[cfg(test)]
mod tests {
    use super::Line;

    #[test]
    fn lines_are_aligned_bytes() {
        let mut lines = vec![Line::ZERO; 3];
        Line::bytes_mut(&mut lines)[100] = 7;
        let bytes = Line::bytes(&lines);
        assert_eq!((bytes.len(), bytes[100], bytes.iter().filter(|&&b| b != 0).count()), (3 * Line::BYTES, 7, 1));
        assert_eq!(bytes.as_ptr() as usize % Line::BYTES, 0);
    }
}
