//! Buffers of many MiB.

/// What a large page holds on x86-64 and, with pages of 4 KiB, on ARM.
#[cfg(any(target_os = "linux", target_os = "android"))]
const PAGE: usize = 2 << 20;

/// Makes a buffer at least so long; what is new holds `value`. Where it is longer than a large page the system is asked for such pages: what all rows of a large matrix gave for a
/// batch lies in pieces that are far apart, 17 MiB for the gate and up of a 1B, which is more small pages than the processor keeps addresses of (prompt of 512, Zen 5, Q8_0 and Q4_K_M: 1 %
/// faster, Q4_0 even). No more memory is used: only pages that lie in the buffer as a whole are asked for.
pub fn grow<T: Clone>(buffer: &mut Vec<T>, len: usize, value: T) {
    if buffer.capacity() < len {
        buffer.reserve_exact(len - buffer.len());
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            let from = buffer.as_mut_ptr().addr();
            let (first, end) = (from.next_multiple_of(PAGE), (from + buffer.capacity() * size_of::<T>()) / PAGE * PAGE);
            if first < end {
                // SAFETY: the pages lie in memory that belongs to the buffer; the advice changes no byte, and a system that does not know it says so.
                let _ =
                    unsafe { libc::madvise(buffer.as_mut_ptr().cast::<u8>().add(first - from).cast(), end - first, libc::MADV_HUGEPAGE) };
            }
        }
    }
    if buffer.len() < len {
        buffer.resize(len, value);
    }
}

#[cfg(test)]
mod tests {
    use super::grow;

    #[test]
    fn keeps_what_is_there_and_never_gets_shorter() {
        let mut buffer = vec![1u32, 2];
        grow(&mut buffer, 2_000_000, 7);
        assert_eq!((buffer.len(), &buffer[..3], buffer[1_999_999]), (2_000_000, &[1, 2, 7][..], 7));
        grow(&mut buffer, 3, 9);
        assert_eq!(buffer.len(), 2_000_000);
    }
}
