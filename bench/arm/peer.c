// Calls one of llama.cpp's ARM kernels for counting its instructions: peer KERNEL ROWS TOKENS, rows of 4096 columns. See peer.sh.
// One token: vec_dot for each row, or gemv on repacked rows. Four tokens and more: gemm on repacked rows.
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef void vec_dot(int n, float *s, size_t bs, const void *x, size_t bx, const void *y, size_t by, int nrc);
typedef void repacked(int n, float *s, size_t bs, const void *x, const void *y, int nr, int nc);

enum { COLS = 4096, ROWS = 256 };

#define DOTS(use) use(q4_K_q8_K) use(q5_K_q8_K) use(q6_K_q8_K) use(iq4_xs_q8_K) use(q4_0_q8_0) use(iq4_nl_q8_0) use(q8_0_q8_0)
#define REPACKED(use) use(q4_K_8x4_q8_K) use(q4_K_8x8_q8_K) use(q5_K_8x4_q8_K) use(q5_K_8x8_q8_K) use(q6_K_8x4_q8_K) use(q6_K_8x8_q8_K) \
  use(q4_0_4x4_q8_0) use(q4_0_4x8_q8_0) use(iq4_nl_4x4_q8_0) use(q8_0_4x4_q8_0) use(q8_0_4x8_q8_0)
#ifdef __cplusplus
extern "C" {
#endif
#define DECLARE(name) vec_dot ggml_vec_dot_##name;
DOTS(DECLARE)
#undef DECLARE
#define DECLARE(name) repacked ggml_gemv_##name, ggml_gemm_##name;
REPACKED(DECLARE)
#ifdef __cplusplus
}
#endif

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  const char *kernel = argv[1];
  int rows = atoi(argv[2]), tokens = atoi(argv[3]);
  // Zeros: none of these kernels branches on a value. Two bytes a weight and a token are more than any format takes.
  char *x = (char *)calloc(ROWS * COLS, 2), *y = (char *)calloc(32 * COLS, 2);
  float *out = (float *)calloc(ROWS * 32, 4);
#define DOT(name) \
  if (!strcmp(kernel, #name)) { for (int r = 0; r < rows; r++) ggml_vec_dot_##name(COLS, out + r, 0, x + r * COLS, 0, y, 0, 1); return 0; }
  DOTS(DOT)
#define MATMUL(name) \
  if (!strcmp(kernel, #name)) { (tokens == 1 ? ggml_gemv_##name : ggml_gemm_##name)(COLS, out, ROWS, x, y, tokens, rows); return 0; }
  REPACKED(MATMUL)
  return 2;
}
