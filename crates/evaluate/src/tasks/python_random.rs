//! Python's `random.Random(seed).sample`, so that examples drawn here are those that lm-evaluation-harness draws.
//!
//! The generator is the Mersenne Twister MT19937 (Matsumoto and Nishimura 1998), seeded as CPython seeds it with a small integer.

const N: usize = 624;
const M: usize = 397;

/// A generator.
#[derive(Debug, Clone)]
pub struct PythonRandom {
    state: [u32; N],
    at: usize,
}

impl PythonRandom {
    /// `random.Random(seed)`.
    pub fn new(seed: u32) -> PythonRandom {
        // init_by_array of one word.
        let mut state = [0u32; N];
        state[0] = 19_650_218;
        for i in 1..N {
            state[i] = 1_812_433_253u32.wrapping_mul(state[i - 1] ^ (state[i - 1] >> 30)).wrapping_add(i as u32);
        }
        let mut i = 1;
        for _ in 0..N {
            state[i] = (state[i] ^ (state[i - 1] ^ (state[i - 1] >> 30)).wrapping_mul(1_664_525)).wrapping_add(seed);
            i += 1;
            if i == N {
                state[0] = state[N - 1];
                i = 1;
            }
        }
        for _ in 0..N - 1 {
            state[i] = (state[i] ^ (state[i - 1] ^ (state[i - 1] >> 30)).wrapping_mul(1_566_083_941)).wrapping_sub(i as u32);
            i += 1;
            if i == N {
                state[0] = state[N - 1];
                i = 1;
            }
        }
        state[0] = 0x8000_0000;
        PythonRandom { state, at: N }
    }

    fn next(&mut self) -> u32 {
        if self.at == N {
            for i in 0..N {
                let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
                self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ if y & 1 == 1 { 0x9908_b0df } else { 0 };
            }
            self.at = 0;
        }
        let mut y = self.state[self.at];
        self.at += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// A number below `n`, which is above 0.
    fn below(&mut self, n: usize) -> usize {
        let bits = usize::BITS - n.leading_zeros();
        loop {
            let drawn = (self.next() >> (32 - bits.clamp(1, 32))) as usize;
            if drawn < n {
                return drawn;
            }
        }
    }

    /// `sample(range(n), k)`; `k` is at most `n`, which is below 2^32.
    pub fn sample(&mut self, n: usize, k: usize) -> Vec<usize> {
        // As CPython: a pool for small populations, else a set of what was drawn.
        let mut set_size = 21;
        if k > 5 {
            set_size += 4usize.pow(((3 * k) as f64).log(4.0).ceil() as u32);
        }
        if n <= set_size {
            let mut pool: Vec<usize> = (0..n).collect();
            return (0..k)
                .map(|i| {
                    let j = self.below(n - i);
                    let last = pool[n - i - 1];
                    std::mem::replace(&mut pool[j], last)
                })
                .collect();
        }
        let mut drawn = vec![];
        while drawn.len() < k {
            let j = self.below(n);
            if !drawn.contains(&j) {
                drawn.push(j);
            }
        }
        drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As CPython 3.11 printed them.
    #[test]
    fn samples_are_pythons() {
        let mut random = PythonRandom::new(1234);
        assert_eq!(random.sample(7473, 5), [6374, 3610, 957, 61, 742]);
        assert_eq!(random.sample(7473, 5), [7462, 6610, 4769, 286, 5501]);
        assert_eq!(random.sample(20, 5), [2, 3, 11, 7, 0]);
        assert_eq!(random.sample(60, 8), [1, 50, 59, 22, 41, 39, 30, 54]);
        assert_eq!(random.sample(90, 8), [59, 19, 11, 23, 14, 1, 64, 62]);
        assert_eq!(random.sample(1, 1), [0]);
        let mut random = PythonRandom::new(0);
        assert_eq!((random.sample(7, 7), random.sample(100, 3)), (vec![6, 3, 5, 0, 1, 2, 4], vec![38, 61, 45]));
    }
}
