/* rawfind: asks C-FIND queries one after the other on one association, as fast as they are answered.
 *
 * Each query's identifier is written before its clock starts. The clock runs from the first byte handed to the kernel;
 * "first" is when the first pending answer with its whole identifier has been read (or the final response, if there is
 * no answer), "final" when the final response has. Answers are counted, not decoded. An identifier is part of every
 * pending response and of no other, statuses are checked, and the number of answers is compared where it is known.
 *
 * Output: one JSON object. Exit status 0 if every query ended with Success, 1 if not, 2 for a mistake in the arguments
 * or when no association could be had. A wrong number of answers is not an error here; it is told ("wrong").
 */
#include "identifier.h"

#define PATIENT_ROOT_FIND "1.2.840.10008.5.1.4.1.2.1.1"
#define STUDY_ROOT_FIND "1.2.840.10008.5.1.4.1.2.2.1"

static struct proposal proposal = {
    .host = "127.0.0.1", .calling = "RAWFIND", .called = "ANY-SCP", .timeout_s = 60, .max_pdu = 131072, .window = 1, .count = 1,
    .contexts = {{STUDY_ROOT_FIND, IMPLICIT_VR_LITTLE_ENDIAN, 0}}};
static struct identifier identifier;
static long queries = 1, first_query;
static double most_seconds = 1e9;

struct results {
  uint32_t *first_us, *final_us, *answers;
  uint64_t bytes;
  long done, wrong, unsupported; /* pending answers that said FF01 */
};

static int ask(struct association *a, long number, struct results *r) {
  static uint8_t data[MAX_IDENTIFIER];
  uint8_t command[256];
  size_t size = write_identifier(&identifier, number, data);
  if (!size) return fail(a, "the identifier is too long");
  struct buffer b = begin_command(command);
  put_element(&b, 0x0002, proposal.contexts[0].abstract_syntax);
  put_us(&b, 0x0100, C_FIND_RQ), put_us(&b, 0x0110, (unsigned)(number % 65535 + 1)), put_us(&b, 0x0700, 0), put_us(&b, 0x0800, 1);
  size_t command_size = end_command(&b, 1);
  double begun = now();
  uint32_t first = 0, answers = 0;
  if (send_request(a, command, command_size, data, size)) return -1;
  for (int pending = 0;;) {
    enum event event = wait_event(a);
    if (event == EVENT_BROKEN) return -1;
    if (event == EVENT_PDU) return fail(a, "PDU type %d instead of a response", a->pdu_type);
    if (event == EVENT_DATA_SET) {
      if (!pending) return fail(a, "an identifier without a pending response");
      if (!answers++) first = (uint32_t)((now() - begun) * 1e6);
      r->bytes += a->data_set_bytes, pending = 0;
      continue;
    }
    int status = command_us(a, 0x0900);
    if (pending || command_us(a, 0x0100) != (IS_RSP | C_FIND_RQ)) return fail(a, "a command that is no response to C-FIND");
    if (command_us(a, 0x0120) != (int)(number % 65535 + 1)) return fail(a, "a response to another message");
    if ((status & 0xfffe) == 0xff00) {
      if (command_us(a, 0x0800) == 0x0101) return fail(a, "a pending response without an identifier");
      pending = 1, r->unsupported += status & 1;
      continue;
    }
    if (status) return fail_status(a, status);
    if (command_us(a, 0x0800) != 0x0101) return fail(a, "the final response announces an identifier");
    break;
  }
  uint32_t final = (uint32_t)((now() - begun) * 1e6);
  long expected = expected_answers(&identifier, number);
  r->wrong += expected >= 0 && expected != (long)answers;
  r->first_us[r->done] = answers ? first : final, r->final_us[r->done] = final, r->answers[r->done++] = answers;
  return 0;
}

static void report(const struct association *a, const struct results *r, double elapsed) {
  uint64_t answers = 0;
  size_t done = (size_t)r->done;
  for (long i = 0; i < r->done; i++) answers += r->answers[i];
  printf("{\"queries\": %ld, \"elapsed_s\": %.6f, \"answers\": %llu, \"bytes\": %llu, \"wrong\": %ld, \"unsupported\": %ld, ",
         r->done, elapsed, (unsigned long long)answers, (unsigned long long)r->bytes, r->wrong, r->unsupported);
  printf("\"cpu_s\": %.4f, \"first_p50_us\": %u, \"first_p99_us\": %u, \"final_p50_us\": %u, \"final_p99_us\": %u, ", cpu_seconds(),
         percentile(r->first_us, done, 50), percentile(r->first_us, done, 99), percentile(r->final_us, done, 50),
         percentile(r->final_us, done, 99));
  print_list("first_us", r->first_us, done), printf(", ");
  print_list("final_us", r->final_us, done), printf(", ");
  print_list("answers_each", r->answers, done);
  printf(", \"error\": \"%s\"}\n", a->error);
}

static int run(void) {
  struct association a = {.fd = -1};
  struct results r = {.first_us = calloc((size_t)queries, 4), .final_us = calloc((size_t)queries, 4), .answers = calloc((size_t)queries, 4)};
  int code = 2;
  double started = now(), elapsed = 0;
  if (r.first_us && r.final_us && r.answers && !associate(&a, &proposal)) {
    started = now();
    for (long i = 0; i < queries && now() - started < most_seconds; i++)
      if (ask(&a, first_query + i, &r)) break;
    elapsed = now() - started;
    if (!a.error[0]) release(&a);
    code = a.error[0] ? 1 : 0;
  }
  report(&a, &r, elapsed);
  close_association(&a);
  free(r.first_us), free(r.final_us), free(r.answers), free_values(&identifier);
  return code;
}

int main(int argc, char **argv) {
  int bad = 0;
  for (int i = 1; i < argc; i += 2) {
    const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
    if (!strcmp(name, "--host")) proposal.host = value;
    else if (!strcmp(name, "--port")) proposal.port = atoi(value);
    else if (!strcmp(name, "--called")) proposal.called = value;
    else if (!strcmp(name, "--calling")) proposal.calling = value;
    else if (!strcmp(name, "--root")) proposal.contexts[0].abstract_syntax = !strcmp(value, "patient") ? PATIENT_ROOT_FIND : STUDY_ROOT_FIND;
    else if (!strcmp(name, "--level")) identifier.keys[identifier.count++] = (struct key){QUERY_RETRIEVE_LEVEL, value, 0};
    else if (!strcmp(name, "--key")) bad |= add_key(&identifier, value, 0);
    else if (!strcmp(name, "--vary")) bad |= add_key(&identifier, value, 1);
    else if (!strcmp(name, "--values")) bad |= read_values(&identifier, value);
    else if (!strcmp(name, "--queries")) queries = atol(value);
    else if (!strcmp(name, "--first")) first_query = atol(value);
    else if (!strcmp(name, "--seconds")) most_seconds = atof(value);
    else if (!strcmp(name, "--timeout")) proposal.timeout_s = atoi(value);
    else return fprintf(stderr, "rawfind: unknown option %s\n", name), 2;
    if (identifier.count >= MAX_KEYS) bad = 1, identifier.count--;
  }
  if (bad || !proposal.port || !identifier.count || queries < 1 || queries > 10000000 || first_query < 0 ||
      (identifier.columns && !identifier.line_count))
    return fprintf(stderr, "rawfind: port, level, keys (ggggeeee=value) and values for those that vary are needed\n"), 2;
  qsort(identifier.keys, (size_t)identifier.count, sizeof *identifier.keys, by_tag);
  return run();
}
