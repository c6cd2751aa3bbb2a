/* rawsend: the lightest C-STORE sender that is still correct.
 *
 * Theory of operation. A data set is a header (a few KiB, one private copy per association) followed by pixel bytes
 * that are only ever read: a pool shared by all associations, sent from a different offset for every object, wrapping
 * round as often as the object's length asks for. Before each object the sender overwrites the fixed-width UIDs in its
 * header; then command and data set leave as a gather list of 12-byte PDU+PDV heads and slices of header and pool, so
 * nothing is ever copied or encoded in user space and one core can feed several GB/s. One thread per association, one
 * outstanding request each (no asynchronous operations window), TCP_NODELAY on. The latency of an object runs from the
 * first byte handed to the kernel to the last byte of its response. All associations are established before the clock
 * starts; releases are not timed.
 *
 * Output: one JSON line per association, then one for the whole run. Exit status 0 if every object was answered with
 * Success (0000), 1 if not, 2 for a mistake in the arguments or when no association could be had.
 */
#include "dul.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#define UID_LENGTH 32 /* every UID we make up has this length, so that it can be overwritten in place */
#define MAX_IOV 512
#define MAX_HEADS 256
#define MAX_ASSOCIATIONS 256

struct settings {
  const char *host, *called, *sop_class;
  int port, echo, associations, timeout_s;
  long objects, per_series, pause_us;
  double seconds;
  uint32_t run;
  uint64_t pixel_bytes;
  long at_study, at_series, at_instance, at_patient, at_number; /* offsets in the header, -1: absent */
  uint8_t *header, *pool;
  size_t header_size, pool_size;
};

struct sender {
  struct association association;
  pthread_t thread;
  int index;
  uint8_t *header;
  long sent, failed;
  uint32_t *latencies_us;
  double finished;
};

static struct settings settings = {
    .host = "127.0.0.1", .called = "ANY-SCP", .associations = 1, .timeout_s = 60, .objects = 1, .per_series = 100,
    .seconds = 1e9, .at_study = -1, .at_series = -1, .at_instance = -1, .at_patient = -1, .at_number = -1};
static atomic_long objects_taken;
static pthread_barrier_t all_associated, clock_started;
static double started;
static atomic_int give_up;

/* C-STORE-RQ, or C-ECHO-RQ without instance. */
static size_t command_pdu(uint8_t *to, unsigned message_id, const char *instance) {
  struct buffer b = begin_command(to);
  put_element(&b, 0x0002, instance ? settings.sop_class : VERIFICATION);
  put_us(&b, 0x0100, instance ? C_STORE_RQ : C_ECHO_RQ), put_us(&b, 0x0110, message_id);
  if (instance) put_us(&b, 0x0700, 0);
  put_us(&b, 0x0800, instance ? 0x0001 : 0x0101);
  if (instance) put_element(&b, 0x1000, instance);
  return end_command(&b, 1);
}

static int associate_sender(struct association *a) {
  struct proposal proposal = {
      .host = settings.host, .port = settings.port, .calling = "RAWSEND", .called = settings.called,
      .timeout_s = settings.timeout_s, .max_pdu = 65536, .window = 1, .count = 1};
  proposal.contexts[0] = settings.echo ? (struct proposed){VERIFICATION, IMPLICIT_VR_LITTLE_ENDIAN, 0}
                                       : (struct proposed){settings.sop_class, EXPLICIT_VR_LITTLE_ENDIAN, 0};
  return associate(a, &proposal);
}

/* Waits for the response; returns its status, or -1. */
static int receive_status(struct association *a) {
  enum event event = wait_event(a);
  if (event == EVENT_BROKEN) return -1;
  if (event != EVENT_COMMAND) return fail(a, event == EVENT_PDU ? "PDU type %d instead of a response" : "data set in the response", a->pdu_type);
  int status = command_us(a, 0x0900);
  return status < 0 ? fail(a, "no status in the response") : status;
}

static void overwrite(struct sender *a, long at, const char *text) {
  if (at >= 0) memcpy(a->header + at, text, strlen(text));
}

/* UIDs are 2.25.1RRRRRRRRKAAAASSSSOOOOOOOOO: run, kind, association, series, object. */
static void name_object(struct sender *a, long object, char *instance) {
  char text[UID_LENGTH + 1];
  unsigned run = settings.run % 100000000u, series = (unsigned)(object / settings.per_series) % 10000u;
  unsigned association = (unsigned)a->index % 10000u;
  snprintf(text, sizeof text, "2.25.1%08u1%04u%04u%09u", run, association, 0u, 0u);
  overwrite(a, settings.at_study, text);
  snprintf(text, sizeof text, "2.25.1%08u2%04u%04u%09u", run, association, series, 0u);
  overwrite(a, settings.at_series, text);
  snprintf(instance, UID_LENGTH + 1, "2.25.1%08u3%04u%04u%09u", run, association, series, (unsigned)object % 1000000000u);
  overwrite(a, settings.at_instance, instance);
  snprintf(text, sizeof text, "BENCH-%08u%04u", run, association);
  overwrite(a, settings.at_patient, text);
  snprintf(text, sizeof text, "%06ld", object % 1000000);
  overwrite(a, settings.at_number, text);
}

/* Sends header and pixels from the pool as P-DATA-TFs of the largest length that the peer takes. */
static int send_data_set(struct sender *a, uint8_t *command, size_t command_size, size_t pool_at) {
  struct iovec iov[MAX_IOV] = {{command, command_size}};
  uint8_t heads[MAX_HEADS][12];
  size_t iovs = 1, used_heads = 0, header_at = 0;
  uint64_t left = settings.header_size + settings.pixel_bytes;
  while (left) {
    size_t fragment = left < a->association.max_data ? (size_t)left : a->association.max_data;
    uint8_t *head = heads[used_heads++];
    head[0] = 4, head[1] = 0, head[10] = 1, head[11] = left == fragment ? 2 : 0;
    set_be32(head + 2, fragment + 6), set_be32(head + 6, fragment + 2);
    iov[iovs++] = (struct iovec){head, 12};
    for (size_t part; fragment; fragment -= part, left -= part) {
      uint8_t *from = a->header + header_at;
      if (header_at < settings.header_size) {
        part = settings.header_size - header_at;
        if (part > fragment) part = fragment;
        header_at += part;
      } else {
        from = settings.pool + pool_at, part = settings.pool_size - pool_at;
        if (part > fragment) part = fragment;
        pool_at = (pool_at + part) % settings.pool_size;
      }
      iov[iovs++] = (struct iovec){from, part};
    }
    if (!left || used_heads == MAX_HEADS || iovs + 8 > MAX_IOV) {
      if (send_all(&a->association, iov, iovs)) return -1;
      iovs = used_heads = 0;
    }
  }
  return 0;
}

static int store_one(struct sender *a, long object) {
  char instance[UID_LENGTH + 1];
  uint8_t command[512];
  name_object(a, object, instance);
  size_t size = command_pdu(command, (unsigned)(object % 65535 + 1), instance);
  size_t pool_at = settings.pool_size ? (size_t)((object * 4099 + a->index * 65537L) * 2) % settings.pool_size : 0;
  double before = now();
  if (send_data_set(a, command, size, pool_at)) return -1;
  int status = receive_status(&a->association);
  if (status < 0) return -1;
  a->latencies_us[a->sent++] = (uint32_t)((now() - before) * 1e6);
  if (status != 0) {
    a->failed++;
    fail_status(&a->association, status);
  }
  return 0;
}

static void *run_association(void *argument) {
  struct sender *a = argument;
  if (associate_sender(&a->association)) atomic_store(&give_up, 1);
  pthread_barrier_wait(&all_associated);
  pthread_barrier_wait(&clock_started);
  for (long object = 0; !atomic_load(&give_up) && now() - started < settings.seconds; object++) {
    if (atomic_fetch_add(&objects_taken, 1) >= settings.objects) break;
    if (settings.pause_us) usleep((useconds_t)settings.pause_us);
    if (store_one(a, object)) break;
  }
  a->finished = now();
  if (!a->association.error[0]) release(&a->association);
  close_association(&a->association);
  return NULL;
}

static int echo(void) {
  struct association a = {.fd = -1};
  uint8_t command[512];
  size_t size = command_pdu(command, 1, NULL);
  int status = associate_sender(&a) || send_bytes(&a, command, size) ? -1 : receive_status(&a);
  if (status == 0) release(&a);
  printf("{\"echo\": %d, \"error\": \"%s\"}\n", status, a.error);
  close_association(&a);
  return status == 0 ? 0 : 1;
}

/* ---- the run ---- */

static uint8_t *read_whole(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  struct stat info;
  if (!file || fstat(fileno(file), &info)) {
    fprintf(stderr, "rawsend: %s: %s\n", path, strerror(errno));
    exit(2);
  }
  *size = (size_t)info.st_size;
  uint8_t *data = malloc(*size + 1);
  if (!data || fread(data, 1, *size, file) != *size) exit(2);
  fclose(file);
  return data;
}

static void report_sender(const struct sender *a) {
  printf("{\"association\": %d, \"max_data\": %zu, \"sent\": %ld, \"failed\": %ld, \"error\": \"%s\", ", a->index,
         a->association.max_data, a->sent, a->failed, a->association.error);
  print_list("latencies_us", a->latencies_us, (size_t)a->sent);
  printf("}\n");
}

static int run(void) {
  static struct sender senders[MAX_ASSOCIATIONS];
  int count = settings.associations, broken = 0;
  pthread_barrier_init(&all_associated, NULL, (unsigned)count + 1);
  pthread_barrier_init(&clock_started, NULL, (unsigned)count + 1);
  for (int i = 0; i < count; i++) {
    struct sender *a = &senders[i];
    a->index = i, a->association.fd = -1;
    a->header = malloc(settings.header_size);
    a->latencies_us = calloc((size_t)settings.objects, sizeof *a->latencies_us);
    if (!a->header || !a->latencies_us) return 2;
    memcpy(a->header, settings.header, settings.header_size);
    if (pthread_create(&a->thread, NULL, run_association, a)) return 2;
  }
  pthread_barrier_wait(&all_associated);
  started = now();
  pthread_barrier_wait(&clock_started);
  double finished = started;
  long sent = 0, failed = 0;
  for (int i = 0; i < count; i++) {
    struct sender *a = &senders[i];
    pthread_join(a->thread, NULL);
    if (a->finished > finished) finished = a->finished;
    sent += a->sent, failed += a->failed, broken += a->association.error[0] != 0;
    report_sender(a);
    free(a->header), free(a->latencies_us);
  }
  printf("{\"elapsed_s\": %.6f, \"sent\": %ld, \"failed\": %ld, \"broken\": %d, \"bytes_each\": %llu, \"cpu_s\": %.4f}\n",
         finished - started, sent, failed, broken, (unsigned long long)(settings.header_size + settings.pixel_bytes), cpu_seconds());
  if (atomic_load(&give_up)) return 2;
  return failed || broken ? 1 : 0;
}

static void set_offset(const char *text) {
  static const struct { const char *name; long *at; } places[] = {
      {"study", &settings.at_study}, {"series", &settings.at_series}, {"instance", &settings.at_instance},
      {"patient", &settings.at_patient}, {"number", &settings.at_number}};
  const char *colon = strchr(text, ':');
  for (size_t i = 0; colon && i < sizeof places / sizeof *places; i++)
    if (strlen(places[i].name) == (size_t)(colon - text) && !strncmp(places[i].name, text, (size_t)(colon - text)))
      *places[i].at = atol(colon + 1);
}

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
    if (!strcmp(name, "--echo")) { settings.echo = 1; continue; }
    i++;
    if (!strcmp(name, "--host")) settings.host = value;
    else if (!strcmp(name, "--port")) settings.port = atoi(value);
    else if (!strcmp(name, "--called")) settings.called = value;
    else if (!strcmp(name, "--sop-class")) settings.sop_class = value;
    else if (!strcmp(name, "--header")) settings.header = read_whole(value, &settings.header_size);
    else if (!strcmp(name, "--pool")) settings.pool = read_whole(value, &settings.pool_size);
    else if (!strcmp(name, "--pixel-bytes")) settings.pixel_bytes = strtoull(value, NULL, 10);
    else if (!strcmp(name, "--at")) set_offset(value);
    else if (!strcmp(name, "--associations")) settings.associations = atoi(value);
    else if (!strcmp(name, "--objects")) settings.objects = atol(value);
    else if (!strcmp(name, "--per-series")) settings.per_series = atol(value);
    else if (!strcmp(name, "--seconds")) settings.seconds = atof(value);
    else if (!strcmp(name, "--pause-us")) settings.pause_us = atol(value);
    else if (!strcmp(name, "--timeout")) settings.timeout_s = atoi(value);
    else if (!strcmp(name, "--run")) settings.run = (uint32_t)strtoul(value, NULL, 10);
    else return fprintf(stderr, "rawsend: unknown option %s\n", name), 2;
  }
  if (settings.echo) return echo();
  if (!settings.port || !settings.sop_class || !settings.header || settings.pool_size < MAX_PDU || settings.objects < 1 ||
      settings.per_series < 1 || settings.associations < 1 || settings.associations > MAX_ASSOCIATIONS)
    return fprintf(stderr, "rawsend: port, SOP class, header, pool (256 KiB or more), objects and associations are needed\n"), 2;
  return run();
}
