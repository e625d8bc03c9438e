/* The peer of `nibble run MODEL --raw --temp 0 -n 1 TEXT`: loads a model with libllama, reads a prompt and prints the first token of the answer.
 *
 *     first_token MODEL THREADS CONTEXT TEXT        prints the token's text
 *     first_token MODEL 0 0 TEXT                    prints how many tokens the text is, from the vocabulary alone
 *
 * speed_compare.py compiles it and takes its time as a whole process. Everything is llama.cpp's default but the threads and the context.
 */
#include "llama.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void quiet(enum ggml_log_level level, const char *text, void *data) {
    (void)data;
    if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

static int fail(const char *what) {
    fprintf(stderr, "first_token: %s\n", what);
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 5) return fail("usage: first_token MODEL THREADS CONTEXT TEXT");
    const int threads = atoi(argv[2]), context = atoi(argv[3]);
    const char *text = argv[4];
    llama_log_set(quiet, NULL);
    llama_backend_init();

    struct llama_model_params model_params = llama_model_default_params();
    model_params.vocab_only = threads == 0;
    struct llama_model *model = llama_model_load_from_file(argv[1], model_params);
    if (!model) return fail("the model cannot be loaded");
    const struct llama_vocab *vocab = llama_model_get_vocab(model);
    llama_token tokens[4096];
    const int count = llama_tokenize(vocab, text, (int)strlen(text), tokens, 4096, true, false);
    if (count <= 0) return fail("the text cannot be tokenized");
    if (threads == 0) {
        printf("%d\n", count);
        return 0;
    }

    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = (uint32_t)context;
    params.n_threads = params.n_threads_batch = threads;
    struct llama_context *ctx = llama_init_from_model(model, params);
    if (!ctx) return fail("no context");
    if (llama_decode(ctx, llama_batch_get_one(tokens, count))) return fail("the prompt cannot be decoded");
    struct llama_sampler *greedy = llama_sampler_init_greedy();
    const llama_token next = llama_sampler_sample(greedy, ctx, -1);
    char piece[256];
    const int length = llama_token_to_piece(vocab, next, piece, sizeof piece, 0, true);
    printf("%.*s\n", length > 0 ? length : 0, piece);
    return 0;
}
