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
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define UID_LENGTH 32 /* every UID we make up has this length, so that it can be overwritten in place */
#define MAX_IOV 512
#define MAX_HEADS 256
#define MAX_PDU 262144 /* what we send to a peer that sets no limit, or a higher one */
#define MAX_ASSOCIATIONS 256
#define EXPLICIT_VR_LITTLE_ENDIAN "1.2.840.10008.1.2.1"
#define IMPLICIT_VR_LITTLE_ENDIAN "1.2.840.10008.1.2"
#define VERIFICATION "1.2.840.10008.1.1"

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

struct association {
  pthread_t thread;
  int index, fd;
  size_t max_data; /* data set bytes in one PDV */
  uint8_t *header;
  long sent, failed, capacity;
  uint32_t *latencies_us;
  double finished;
  char error[256];
};

static struct settings settings = {
    .host = "127.0.0.1", .called = "ANY-SCP", .associations = 1, .timeout_s = 60, .objects = 1, .per_series = 100,
    .seconds = 1e9, .at_study = -1, .at_series = -1, .at_instance = -1, .at_patient = -1, .at_number = -1};
static atomic_long objects_taken;
static pthread_barrier_t all_associated, clock_started;
static double started;
static atomic_int give_up;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int fail(struct association *a, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  if (!a->error[0]) vsnprintf(a->error, sizeof a->error, format, arguments);
  va_end(arguments);
  return -1;
}

/* ---- bytes ---- */

struct buffer {
  uint8_t *data;
  size_t size;
};

static void put(struct buffer *b, const void *bytes, size_t size) {
  memcpy(b->data + b->size, bytes, size);
  b->size += size;
}
static void put_u8(struct buffer *b, unsigned value) { b->data[b->size++] = (uint8_t)value; }
static void put_be16(struct buffer *b, unsigned value) { put_u8(b, value >> 8), put_u8(b, value); }
static void put_be32(struct buffer *b, uint32_t value) { put_be16(b, value >> 16), put_be16(b, value & 0xffff); }
static void put_le16(struct buffer *b, unsigned value) { put_u8(b, value), put_u8(b, value >> 8); }
static void put_le32(struct buffer *b, uint32_t value) { put_le16(b, value & 0xffff), put_le16(b, value >> 16); }
static void set_be16(uint8_t *at, size_t value) { at[0] = (uint8_t)(value >> 8), at[1] = (uint8_t)value; }
static void set_be32(uint8_t *at, size_t value) { set_be16(at, value >> 16), set_be16(at + 2, value & 0xffff); }
static uint32_t be32(const uint8_t *at) {
  return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void put_item(struct buffer *b, unsigned type, const char *text) {
  put_u8(b, type), put_u8(b, 0), put_be16(b, (unsigned)strlen(text)), put(b, text, strlen(text));
}

static void put_padded(struct buffer *b, const char *text, size_t width) {
  for (size_t i = 0, size = strlen(text); i < width; i++) put_u8(b, i < size ? (uint8_t)text[i] : ' ');
}

/* ---- sending and receiving ---- */

static int send_all(struct association *a, struct iovec *iov, size_t count) {
  while (count) {
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = count};
    ssize_t sent = sendmsg(a->fd, &message, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return fail(a, "send: %s", strerror(errno));
    for (size_t left = (size_t)sent; count && left >= iov->iov_len; iov++, count--) {
      left -= iov->iov_len;
      sent = (ssize_t)left;
    }
    if (count) iov->iov_base = (uint8_t *)iov->iov_base + sent, iov->iov_len -= (size_t)sent;
  }
  return 0;
}

static int send_bytes(struct association *a, const void *bytes, size_t size) {
  struct iovec iov = {(void *)bytes, size};
  return send_all(a, &iov, 1);
}

static int receive_exactly(struct association *a, uint8_t *to, size_t size) {
  while (size) {
    ssize_t got = recv(a->fd, to, size, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(a, "receive: %s", errno == EAGAIN ? "no answer in time" : strerror(errno));
    if (got == 0) return fail(a, "the peer closed the connection");
    to += got, size -= (size_t)got;
  }
  return 0;
}

/* Reads one PDU into body; returns its type, or -1. */
static int receive_pdu(struct association *a, uint8_t *body, size_t limit, size_t *size) {
  uint8_t head[6];
  if (receive_exactly(a, head, sizeof head)) return -1;
  *size = be32(head + 2);
  if (*size > limit) return fail(a, "PDU of %zu bytes from the peer", *size);
  if (receive_exactly(a, body, *size)) return -1;
  if (head[0] == 7) return fail(a, "A-ABORT, source %d reason %d", body[2], body[3]);
  if (head[0] == 3) return fail(a, "A-ASSOCIATE-RJ, result %d source %d reason %d", body[1], body[2], body[3]);
  return head[0];
}

/* ---- association ---- */

static void put_context(struct buffer *b, unsigned id, const char *abstract_syntax, const char *transfer_syntax) {
  put_u8(b, 0x20), put_u8(b, 0);
  put_be16(b, (unsigned)(4 + 4 + strlen(abstract_syntax) + 4 + strlen(transfer_syntax)));
  put_u8(b, id), put_u8(b, 0), put_u8(b, 0), put_u8(b, 0);
  put_item(b, 0x30, abstract_syntax), put_item(b, 0x40, transfer_syntax);
}

static size_t associate_rq(uint8_t *to) {
  struct buffer b = {to, 6};
  put_be16(&b, 1), put_be16(&b, 0);
  put_padded(&b, settings.called, 16), put_padded(&b, "RAWSEND", 16);
  for (int i = 0; i < 32; i++) put_u8(&b, 0);
  put_item(&b, 0x10, "1.2.840.10008.3.1.1.1");
  if (settings.echo) put_context(&b, 1, VERIFICATION, IMPLICIT_VR_LITTLE_ENDIAN);
  else put_context(&b, 1, settings.sop_class, EXPLICIT_VR_LITTLE_ENDIAN);
  const char *implementation = "2.25.141717171717171717";
  put_u8(&b, 0x50), put_u8(&b, 0), put_be16(&b, (unsigned)(8 + 4 + strlen(implementation)));
  put_be16(&b, 0x5100), put_be16(&b, 4), put_be32(&b, 65536);
  put_item(&b, 0x52, implementation);
  to[0] = 1, to[1] = 0;
  set_be32(to + 2, b.size - 6);
  return b.size;
}

/* Finds in an A-ASSOCIATE-AC the result of our one context and the peer's maximum length. */
static int read_associate_ac(struct association *a, const uint8_t *body, size_t size) {
  size_t max_length = 0;
  int accepted = 0;
  for (size_t at = 68; at + 4 <= size;) {
    size_t length = (size_t)(body[at + 2] << 8 | body[at + 3]), end = at + 4 + length;
    if (end > size) return fail(a, "item runs over the end of the A-ASSOCIATE-AC");
    if (body[at] == 0x21 && length >= 4) accepted = body[at + 6] == 0;
    for (size_t sub = at + 4; body[at] == 0x50 && sub + 8 <= end;) {
      size_t sub_length = (size_t)(body[sub + 2] << 8 | body[sub + 3]);
      if (body[sub] == 0x51 && sub_length == 4) max_length = be32(body + sub + 4);
      sub += 4 + sub_length;
    }
    at = end;
  }
  if (!accepted) return fail(a, "the peer refused the presentation context");
  if (max_length == 0 || max_length > MAX_PDU) max_length = MAX_PDU;
  a->max_data = (max_length - 6) & ~(size_t)1;
  return 0;
}

static int associate(struct association *a) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)settings.port)};
  struct timeval timeout = {.tv_sec = settings.timeout_s};
  int one = 1;
  if (inet_pton(AF_INET, settings.host, &address.sin_addr) != 1) return fail(a, "not an IPv4 address");
  if ((a->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0) return fail(a, "socket: %s", strerror(errno));
  setsockopt(a->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(a->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  setsockopt(a->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  if (connect(a->fd, (struct sockaddr *)&address, sizeof address)) return fail(a, "connect: %s", strerror(errno));
  uint8_t pdu[65536];
  size_t size = associate_rq(pdu);
  if (send_bytes(a, pdu, size)) return -1;
  int type = receive_pdu(a, pdu, sizeof pdu, &size);
  if (type < 0) return -1;
  return type == 2 ? read_associate_ac(a, pdu, size) : fail(a, "PDU type %d instead of an answer", type);
}

static void release(struct association *a) {
  static const uint8_t release_rq[10] = {5, 0, 0, 0, 0, 4};
  uint8_t body[1024];
  size_t size;
  struct timeval timeout = {.tv_sec = 5};
  setsockopt(a->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  if (send_bytes(a, release_rq, sizeof release_rq) == 0) receive_pdu(a, body, sizeof body, &size);
}

/* ---- messages ---- */

static void put_element(struct buffer *b, unsigned element, const char *text) {
  size_t size = strlen(text), padding = size & 1;
  put_le16(b, 0), put_le16(b, element), put_le32(b, (uint32_t)(size + padding)), put(b, text, size);
  if (padding) put_u8(b, 0);
}

static void put_us(struct buffer *b, unsigned element, unsigned value) {
  put_le16(b, 0), put_le16(b, element), put_le32(b, 2), put_le16(b, value);
}

/* A whole P-DATA-TF with one command PDV: C-STORE-RQ, or C-ECHO-RQ without instance. */
static size_t command_pdu(uint8_t *to, unsigned message_id, const char *instance) {
  struct buffer b = {to, 24};
  put_element(&b, 0x0002, instance ? settings.sop_class : VERIFICATION);
  put_us(&b, 0x0100, instance ? 0x0001 : 0x0030), put_us(&b, 0x0110, message_id);
  if (instance) put_us(&b, 0x0700, 0);
  put_us(&b, 0x0800, instance ? 0x0001 : 0x0101);
  if (instance) put_element(&b, 0x1000, instance);
  struct buffer head = {to, 0};
  put_u8(&head, 4), put_u8(&head, 0), put_be32(&head, (uint32_t)(b.size - 6));
  put_be32(&head, (uint32_t)(b.size - 10)), put_u8(&head, 1), put_u8(&head, 3);
  put_le16(&head, 0), put_le16(&head, 0), put_le32(&head, 4), put_le32(&head, (uint32_t)(b.size - 24));
  return b.size;
}

/* Waits for the response; returns its status, or -1. */
static int receive_status(struct association *a) {
  uint8_t command[8192], body[8192];
  size_t size, have = 0;
  for (int last = 0; !last;) {
    int type = receive_pdu(a, body, sizeof body, &size);
    if (type < 0) return -1;
    if (type != 4) return fail(a, "PDU type %d instead of a response", type);
    for (size_t at = 0; at + 6 <= size;) {
      size_t length = be32(body + at);
      if (length < 2 || at + 4 + length > size || have + length > sizeof command) return fail(a, "malformed PDV");
      if (!(body[at + 5] & 1)) return fail(a, "data set in the response");
      memcpy(command + have, body + at + 6, length - 2);
      have += length - 2, last = body[at + 5] & 2, at += 4 + length;
    }
  }
  for (size_t at = 0; at + 8 <= have;) {
    size_t element = (size_t)(command[at + 2] | command[at + 3] << 8);
    size_t length = (size_t)(command[at + 4] | command[at + 5] << 8);
    if (element == 0x0900 && length == 2) return command[at + 8] | command[at + 9] << 8;
    at += 8 + length;
  }
  return fail(a, "no status in the response");
}

static void overwrite(struct association *a, long at, const char *text) {
  if (at >= 0) memcpy(a->header + at, text, strlen(text));
}

/* UIDs are 2.25.1RRRRRRRRKAAAASSSSOOOOOOOOO: run, kind, association, series, object. */
static void name_object(struct association *a, long object, char *instance) {
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
static int send_data_set(struct association *a, uint8_t *command, size_t command_size, size_t pool_at) {
  struct iovec iov[MAX_IOV] = {{command, command_size}};
  uint8_t heads[MAX_HEADS][12];
  size_t iovs = 1, used_heads = 0, header_at = 0;
  uint64_t left = settings.header_size + settings.pixel_bytes;
  while (left) {
    size_t fragment = left < a->max_data ? (size_t)left : a->max_data;
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
      if (send_all(a, iov, iovs)) return -1;
      iovs = used_heads = 0;
    }
  }
  return 0;
}

static int store_one(struct association *a, long object) {
  char instance[UID_LENGTH + 1];
  uint8_t command[512];
  name_object(a, object, instance);
  size_t size = command_pdu(command, (unsigned)(object % 65535 + 1), instance);
  size_t pool_at = settings.pool_size ? (size_t)((object * 4099 + a->index * 65537L) * 2) % settings.pool_size : 0;
  double before = now();
  if (send_data_set(a, command, size, pool_at)) return -1;
  int status = receive_status(a);
  if (status < 0) return -1;
  a->latencies_us[a->sent++] = (uint32_t)((now() - before) * 1e6);
  if (status != 0) {
    a->failed++;
    fail(a, "status 0x%04X", (unsigned)status);
  }
  return 0;
}

static void *run_association(void *argument) {
  struct association *a = argument;
  if (associate(a)) atomic_store(&give_up, 1);
  pthread_barrier_wait(&all_associated);
  pthread_barrier_wait(&clock_started);
  for (long object = 0; !atomic_load(&give_up) && now() - started < settings.seconds; object++) {
    if (atomic_fetch_add(&objects_taken, 1) >= settings.objects) break;
    if (settings.pause_us) usleep((useconds_t)settings.pause_us);
    if (store_one(a, object)) break;
  }
  a->finished = now();
  if (a->fd >= 0 && !a->error[0]) release(a);
  if (a->fd >= 0) close(a->fd);
  return NULL;
}

static int echo(void) {
  struct association a = {.fd = -1};
  uint8_t command[512];
  size_t size = command_pdu(command, 1, NULL);
  int status = associate(&a) || send_bytes(&a, command, size) ? -1 : receive_status(&a);
  if (status == 0) release(&a);
  printf("{\"echo\": %d, \"error\": \"%s\"}\n", status, a.error);
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

static void report_association(const struct association *a) {
  printf("{\"association\": %d, \"max_data\": %zu, \"sent\": %ld, \"failed\": %ld, \"error\": \"%s\", \"latencies_us\": [",
         a->index, a->max_data, a->sent, a->failed, a->error);
  for (long i = 0; i < a->sent; i++) printf("%s%u", i ? "," : "", a->latencies_us[i]);
  printf("]}\n");
}

static int run(void) {
  static struct association associations[MAX_ASSOCIATIONS];
  int count = settings.associations, broken = 0;
  pthread_barrier_init(&all_associated, NULL, (unsigned)count + 1);
  pthread_barrier_init(&clock_started, NULL, (unsigned)count + 1);
  for (int i = 0; i < count; i++) {
    struct association *a = &associations[i];
    a->index = i, a->fd = -1;
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
    struct association *a = &associations[i];
    pthread_join(a->thread, NULL);
    if (a->finished > finished) finished = a->finished;
    sent += a->sent, failed += a->failed, broken += a->error[0] != 0;
    report_association(a);
  }
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
  printf("{\"elapsed_s\": %.6f, \"sent\": %ld, \"failed\": %ld, \"broken\": %d, \"bytes_each\": %llu, \"cpu_s\": %.4f}\n",
         finished - started, sent, failed, broken, (unsigned long long)(settings.header_size + settings.pixel_bytes), cpu);
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
