/* A QEMU plugin that prints at exit how many instructions the guest executed. It declares the four functions of QEMU's plugin interface that it
 * needs, version 1, so that it compiles without QEMU's headers. See count.sh. */
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct qemu_plugin_tb;
typedef void translated(uint64_t id, struct qemu_plugin_tb *block);
typedef void executed(unsigned cpu, void *data);
typedef void ended(uint64_t id, void *data);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, translated *);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, executed *, int flags, void *data);
void qemu_plugin_register_atexit_cb(uint64_t id, ended *, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);

int qemu_plugin_version = 1;
static uint64_t count;

/* The number of instructions of a block is passed as the pointer that QEMU hands through. */
static void on_execute(unsigned cpu, void *instructions) { __atomic_fetch_add(&count, (uintptr_t)instructions, __ATOMIC_RELAXED); }

static void on_translate(uint64_t id, struct qemu_plugin_tb *block) {
  qemu_plugin_register_vcpu_tb_exec_cb(block, on_execute, 0, (void *)(uintptr_t)qemu_plugin_tb_n_insns(block));
}

static void on_exit(uint64_t id, void *data) { fprintf(stderr, "instructions %" PRIu64 "\n", count); }

int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv) {
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
  qemu_plugin_register_atexit_cb(id, on_exit, 0);
  return 0;
}
