//! Loops that the compiler vectorises by itself, compiled again with AVX2 and with AVX-512 switched on.
//!
//! The same expressions in the same order give the same bits: Rust never contracts `a * b + c`. On aarch64 NEON is part of the baseline, so one
//! compilation is enough there.

/// Declares functions that ask the CPU and call the body of the same name in the module `portable` beside them, compiled for what it has.
macro_rules! compiled_for_each {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)?;)*) => {$(
        $(#[$doc])*
        pub fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2")]
                fn avx512($($arg: $ty),*) $(-> $ret)? {
                    portable::$name($($arg),*)
                }
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    portable::$name($($arg),*)
                }
                if crate::Isa::Avx512Vnni.available() {
                    // SAFETY: the CPU has all that the function needs.
                    return unsafe { avx512($($arg),*) };
                }
                if crate::Isa::Avx2.available() {
                    // SAFETY: the CPU has AVX2, which is all that the function needs.
                    return unsafe { avx2($($arg),*) };
                }
            }
            portable::$name($($arg),*)
        }
    )*};
}
pub(crate) use compiled_for_each;
