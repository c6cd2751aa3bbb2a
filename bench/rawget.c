/* rawget: retrieves by C-GET, swallowing what arrives, or by C-MOVE to somebody else, and times it.
 *
 * One association, one retrieval after the other. With C-GET we are the SCP of one storage SOP class: each data set is
 * counted and forgotten, and its C-STORE is answered with Success as soon as its last byte has been read. The clock of
 * a retrieval runs from the first byte of its request to the last one of its final response. The counters of the final
 * response are checked against what arrived (C-GET), and nothing may have failed.
 *
 * Output: one JSON object. Exit status 0 if every retrieval ended with Success and nothing was missing, 1 if not, 2 for
 * a mistake in the arguments or when no association could be had.
 */
#include "identifier.h"
#include "swallow.h"

#define PATIENT_ROOT_MOVE "1.2.840.10008.5.1.4.1.2.1.2"
#define PATIENT_ROOT_GET "1.2.840.10008.5.1.4.1.2.1.3"
#define STUDY_ROOT_MOVE "1.2.840.10008.5.1.4.1.2.2.2"
#define STUDY_ROOT_GET "1.2.840.10008.5.1.4.1.2.2.3"
#define CT_IMAGE_STORAGE "1.2.840.10008.5.1.4.1.1.2"

static struct proposal proposal = {
    .host = "127.0.0.1", .calling = "RAWGET", .called = "ANY-SCP", .timeout_s = 60, .max_pdu = 131072, .window = 1, .count = 2,
    .contexts = {{STUDY_ROOT_GET, IMPLICIT_VR_LITTLE_ENDIAN, 0}, {CT_IMAGE_STORAGE, EXPLICIT_VR_LITTLE_ENDIAN, 1}}};
static struct identifier identifier;
static const char *destination; /* of a C-MOVE; NULL: C-GET */
static int patient_root;
static long retrievals = 1;
static double most_seconds = 1e9;

struct results {
  uint32_t *final_us, *first_us; /* to the first object; of a C-MOVE to the first response */
  uint64_t bytes;
  long done, objects, completed, failed, warnings, pending;
};

static size_t request(uint8_t *command, unsigned message_id) {
  struct buffer b = begin_command(command);
  put_element(&b, 0x0002, proposal.contexts[0].abstract_syntax);
  put_us(&b, 0x0100, destination ? C_MOVE_RQ : C_GET_RQ), put_us(&b, 0x0110, message_id);
  if (destination) put_element(&b, 0x0600, destination);
  put_us(&b, 0x0700, 0), put_us(&b, 0x0800, 1);
  return end_command(&b, 1);
}

static long counter(const struct association *a, unsigned element) {
  int value = command_us(a, element);
  return value < 0 ? 0 : value;
}

/* Takes a C-STORE-RQ and the data set behind it. */
static int swallow(struct association *a) {
  uint8_t response[STORE_RSP_BYTES];
  size_t size = store_response(a, response);
  if (!size) return fail(a, "a command that is neither a response nor a C-STORE");
  enum event event = wait_event(a);
  if (event == EVENT_BROKEN) return -1;
  if (event != EVENT_DATA_SET) return fail(a, "no data set behind a C-STORE");
  return send_bytes(a, response, size);
}

static int retrieve(struct association *a, long number, struct results *r) {
  static uint8_t data[MAX_IDENTIFIER];
  uint8_t command[256];
  unsigned message_id = (unsigned)(number % 65535 + 1);
  size_t size = write_identifier(&identifier, number, data);
  if (!size) return fail(a, "the identifier is too long");
  size_t command_size = request(command, message_id);
  long arrived = 0;
  uint32_t first = 0;
  double begun = now();
  if (send_request(a, command, command_size, data, size)) return -1;
  for (;;) {
    enum event event = wait_event(a);
    if (event == EVENT_BROKEN) return -1;
    if (event == EVENT_PDU) return fail(a, "PDU type %d instead of a response", a->pdu_type);
    if (event == EVENT_DATA_SET) continue; /* the list of what failed */
    int field = command_us(a, 0x0100), status = command_us(a, 0x0900);
    if (field == C_STORE_RQ && !destination) {
      if (swallow(a)) return -1;
      r->bytes += a->data_set_bytes;
      if (!arrived++) first = (uint32_t)((now() - begun) * 1e6);
      continue;
    }
    if (field != (IS_RSP | (destination ? C_MOVE_RQ : C_GET_RQ)) || command_us(a, 0x0120) != (int)message_id)
      return fail(a, "a command that is no response to ours");
    if (!first) first = (uint32_t)((now() - begun) * 1e6);
    if (status == 0xff00) {
      r->pending++;
      continue;
    }
    long completed = counter(a, 0x1021), failed = counter(a, 0x1022), warnings = counter(a, 0x1023);
    r->completed += completed, r->failed += failed, r->warnings += warnings;
    if (status) return fail_status(a, status);
    if (failed || (!destination && completed + warnings != arrived))
      return fail(a, "%ld arrived, %ld completed, %ld failed, %ld warnings", arrived, completed, failed, warnings);
    if (destination) arrived = completed + warnings;
    long expected = expected_answers(&identifier, number);
    if (expected >= 0 && arrived != expected) return fail(a, "%ld objects instead of %ld", arrived, expected);
    break;
  }
  r->objects += arrived;
  r->first_us[r->done] = first, r->final_us[r->done++] = (uint32_t)((now() - begun) * 1e6);
  return 0;
}

static void report(const struct association *a, const struct results *r, double elapsed) {
  printf("{\"retrievals\": %ld, \"elapsed_s\": %.6f, \"objects\": %ld, \"bytes\": %llu, \"completed\": %ld, \"failed\": %ld, ",
         r->done, elapsed, r->objects, (unsigned long long)r->bytes, r->completed, r->failed);
  printf("\"warnings\": %ld, \"pending\": %ld, \"window\": %u, \"cpu_s\": %.4f, \"final_p50_us\": %u, ", r->warnings, r->pending,
         a->window, cpu_seconds(), percentile(r->final_us, (size_t)r->done, 50));
  print_list("first_us", r->first_us, (size_t)r->done), printf(", ");
  print_list("final_us", r->final_us, (size_t)r->done);
  printf(", \"error\": \"%s\"}\n", a->error);
}

static int run(void) {
  struct association a = {.fd = -1};
  struct results r = {.first_us = calloc((size_t)retrievals, 4), .final_us = calloc((size_t)retrievals, 4)};
  int code = 2;
  double started = now(), elapsed = 0;
  if (r.first_us && r.final_us && !associate(&a, &proposal)) {
    started = now();
    for (long i = 0; i < retrievals && now() - started < most_seconds; i++)
      if (retrieve(&a, i, &r)) break;
    elapsed = now() - started;
    if (!a.error[0]) release(&a);
    code = a.error[0] ? 1 : 0;
  }
  report(&a, &r, elapsed);
  close_association(&a);
  free(r.first_us), free(r.final_us), free_values(&identifier);
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
    else if (!strcmp(name, "--move")) destination = value;
    else if (!strcmp(name, "--root")) patient_root = !strcmp(value, "patient");
    else if (!strcmp(name, "--sop-class")) proposal.contexts[1].abstract_syntax = value;
    else if (!strcmp(name, "--syntax")) proposal.contexts[1].transfer_syntax = value;
    else if (!strcmp(name, "--pdu")) proposal.max_pdu = (uint32_t)strtoul(value, NULL, 10);
    else if (!strcmp(name, "--window")) proposal.window = (unsigned)atoi(value);
    else if (!strcmp(name, "--level")) identifier.keys[identifier.count++] = (struct key){QUERY_RETRIEVE_LEVEL, value, 0};
    else if (!strcmp(name, "--key")) bad |= add_key(&identifier, value, 0);
    else if (!strcmp(name, "--vary")) bad |= add_key(&identifier, value, 1);
    else if (!strcmp(name, "--values")) bad |= read_values(&identifier, value);
    else if (!strcmp(name, "--retrievals")) retrievals = atol(value);
    else if (!strcmp(name, "--seconds")) most_seconds = atof(value);
    else if (!strcmp(name, "--timeout")) proposal.timeout_s = atoi(value);
    else return fprintf(stderr, "rawget: unknown option %s\n", name), 2;
    if (identifier.count >= MAX_KEYS) bad = 1, identifier.count--;
  }
  if (bad || !proposal.port || !identifier.count || retrievals < 1 || retrievals > 1000000 ||
      (identifier.columns && !identifier.line_count) || (destination && strlen(destination) > 16))
    return fprintf(stderr, "rawget: port, level, keys (ggggeeee=value) and values for those that vary are needed\n"), 2;
  if (destination) proposal.count = 1, proposal.contexts[0].abstract_syntax = patient_root ? PATIENT_ROOT_MOVE : STUDY_ROOT_MOVE;
  else if (patient_root) proposal.contexts[0].abstract_syntax = PATIENT_ROOT_GET;
  qsort(identifier.keys, (size_t)identifier.count, sizeof *identifier.keys, by_tag);
  return run();
}
