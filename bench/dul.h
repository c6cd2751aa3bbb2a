/* The upper layer that the benchmark's tools share: just enough of PS3.8 and PS3.7, at the speed of the kernel.
 *
 * Theory of operation. Bytes are received into one large buffer per association and taken apart where they lie. The
 * parser is incremental, so that a PDU may be of any length and arrive in any pieces: it collects the six bytes that
 * begin a PDU, the six that begin a PDV, command sets, and PDUs other than P-DATA-TF (all bounded); bytes of data sets
 * are counted and forgotten. What is complete comes out as an event. A program that may block calls wait_event(); one
 * that waits for many sockets receives for itself and calls next_event() until that wants more. Whatever goes wrong is
 * written once, as words, into the association's `error`.
 */
#ifndef PACSLITE_BENCH_DUL_H
#define PACSLITE_BENCH_DUL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define EXPLICIT_VR_LITTLE_ENDIAN "1.2.840.10008.1.2.1"
#define IMPLICIT_VR_LITTLE_ENDIAN "1.2.840.10008.1.2"
#define VERIFICATION "1.2.840.10008.1.1"
#define APPLICATION_CONTEXT "1.2.840.10008.3.1.1.1"
#define IMPLEMENTATION_CLASS "2.25.141717171717171717"

#define MAX_PDU 262144 /* what we send to a peer that sets no limit, or a higher one */
#define MAX_UID 64
#define MAX_COMMAND 65536
#define MAX_BODY 262144 /* of a PDU that is no P-DATA-TF: 128 contexts with many transfer syntaxes fit */
#define RECEIVE_BYTES 262144
#define MAX_PROPOSED 8

enum pdu_type { ASSOCIATE_RQ = 1, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA_TF, RELEASE_RQ, RELEASE_RP, ABORT };
enum command_field { C_STORE_RQ = 0x0001, C_FIND_RQ = 0x0020, C_GET_RQ = 0x0010, C_MOVE_RQ = 0x0021, C_ECHO_RQ = 0x0030, IS_RSP = 0x8000 };
enum event { EVENT_BROKEN = -1, EVENT_MORE, EVENT_PDU, EVENT_COMMAND, EVENT_DATA_SET };

struct association {
  int fd;
  size_t max_data; /* data set bytes in one PDV to the peer */
  unsigned window; /* operations at once that the peer agreed to; 0: as many as one likes */
  uint8_t accepted[256]; /* by presentation context ID: 1 if accepted */
  char error[256];
  /* Received and not yet looked at. */
  uint8_t *buffer;
  size_t from, to;
  /* Where the parser is. */
  enum { PDU_HEAD, PDU_BODY, PDV_HEAD, PDV_BODY } state;
  uint8_t head[6];
  size_t head_size;
  uint32_t pdu_left, pdv_left;
  /* What it has found; valid from the event to the next call. */
  uint8_t pdu_type, context, control;
  uint8_t *body, *command;
  size_t body_size, command_size;
  int command_complete, data_set_complete;
  uint64_t data_set_bytes;
};

static inline double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static inline double cpu_seconds(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* The first error counts: what follows is mostly its consequence. Always -1. */
__attribute__((format(printf, 2, 3))) static inline int fail(struct association *a, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  if (!a->error[0]) vsnprintf(a->error, sizeof a->error, format, arguments);
  va_end(arguments);
  return -1;
}

static inline int open_buffers(struct association *a) {
  a->buffer = malloc(RECEIVE_BYTES), a->body = malloc(MAX_BODY), a->command = malloc(MAX_COMMAND);
  return a->buffer && a->body && a->command ? 0 : fail(a, "out of memory");
}

static inline void close_association(struct association *a) {
  if (a->fd >= 0) close(a->fd);
  a->fd = -1;
  free(a->buffer), free(a->body), free(a->command);
  a->buffer = a->body = a->command = NULL;
}

/* ---- bytes ---- */

struct buffer {
  uint8_t *data;
  size_t size;
};

static inline void put(struct buffer *b, const void *bytes, size_t size) {
  if (size) memcpy(b->data + b->size, bytes, size);
  b->size += size;
}
static inline void put_u8(struct buffer *b, unsigned value) { b->data[b->size++] = (uint8_t)value; }
static inline void put_be16(struct buffer *b, unsigned value) { put_u8(b, value >> 8), put_u8(b, value); }
static inline void put_be32(struct buffer *b, uint32_t value) { put_be16(b, value >> 16), put_be16(b, value & 0xffff); }
static inline void put_le16(struct buffer *b, unsigned value) { put_u8(b, value), put_u8(b, value >> 8); }
static inline void put_le32(struct buffer *b, uint32_t value) { put_le16(b, value & 0xffff), put_le16(b, value >> 16); }
static inline void set_be16(uint8_t *at, size_t value) { at[0] = (uint8_t)(value >> 8), at[1] = (uint8_t)value; }
static inline void set_be32(uint8_t *at, size_t value) { set_be16(at, value >> 16), set_be16(at + 2, value & 0xffff); }
static inline unsigned be16(const uint8_t *at) { return (unsigned)at[0] << 8 | at[1]; }
static inline uint32_t be32(const uint8_t *at) { return (uint32_t)be16(at) << 16 | be16(at + 2); }
static inline unsigned le16(const uint8_t *at) { return (unsigned)at[1] << 8 | at[0]; }
static inline uint32_t le32(const uint8_t *at) { return (uint32_t)le16(at + 2) << 16 | le16(at); }

static inline void put_item(struct buffer *b, unsigned type, const char *text) {
  put_u8(b, type), put_u8(b, 0), put_be16(b, (unsigned)strlen(text)), put(b, text, strlen(text));
}

static inline void put_padded(struct buffer *b, const char *text, size_t width) {
  for (size_t i = 0, size = strlen(text); i < width; i++) put_u8(b, i < size ? (uint8_t)text[i] : ' ');
}

/* ---- sending ---- */

static inline int send_all(struct association *a, struct iovec *iov, size_t count) {
  while (count) {
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = count};
    ssize_t sent = sendmsg(a->fd, &message, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return fail(a, "send: %s", errno == EAGAIN ? "nothing taken in time" : strerror(errno));
    for (size_t left = (size_t)sent; count && left >= iov->iov_len; iov++, count--) {
      left -= iov->iov_len;
      sent = (ssize_t)left;
    }
    if (count) iov->iov_base = (uint8_t *)iov->iov_base + sent, iov->iov_len -= (size_t)sent;
  }
  return 0;
}

static inline int send_bytes(struct association *a, const void *bytes, size_t size) {
  struct iovec iov = {(void *)(uintptr_t)bytes, size};
  return send_all(a, &iov, 1);
}

/* ---- receiving ---- */

/* Takes up to `wanted` bytes that were received; may be fewer. */
static inline size_t take(struct association *a, size_t wanted, uint8_t *to) {
  size_t part = a->to - a->from < wanted ? a->to - a->from : wanted;
  if (to && part) memcpy(to, a->buffer + a->from, part);
  a->from += part;
  return part;
}

static inline enum event begin_pdu(struct association *a) {
  a->pdu_type = a->head[0], a->pdu_left = be32(a->head + 2), a->head_size = a->body_size = 0;
  if (a->pdu_type == P_DATA_TF ? a->pdu_left < 6 : a->pdu_left > MAX_BODY)
    return fail(a, "PDU of type %u with %u bytes", a->pdu_type, a->pdu_left), EVENT_BROKEN;
  a->state = a->pdu_type == P_DATA_TF ? PDV_HEAD : PDU_BODY;
  return EVENT_MORE;
}

static inline enum event begin_pdv(struct association *a) {
  uint32_t length = be32(a->head);
  a->context = a->head[4], a->control = a->head[5], a->head_size = 0;
  if (length < 2 || a->pdu_left < 4 || length > a->pdu_left - 4 || (a->pdu_left - 4 - length && a->pdu_left - 4 - length < 6))
    return fail(a, "malformed PDV"), EVENT_BROKEN;
  a->pdu_left -= 4 + length, a->pdv_left = length - 2, a->state = PDV_BODY;
  if (a->control & 1 && a->command_complete) a->command_complete = 0, a->command_size = 0;
  if (!(a->control & 1) && a->data_set_complete) a->data_set_complete = 0, a->data_set_bytes = 0;
  if (a->control & 1 && a->command_size + a->pdv_left > MAX_COMMAND) return fail(a, "endless command set"), EVENT_BROKEN;
  return EVENT_MORE;
}

/* What is complete next in the bytes received so far; EVENT_MORE if nothing is. */
static inline enum event next_event(struct association *a) {
  for (;;) {
    size_t part;
    switch (a->state) {
    case PDU_HEAD:
    case PDV_HEAD:
      a->head_size += take(a, 6 - a->head_size, a->head + a->head_size);
      if (a->head_size < 6) return EVENT_MORE;
      if ((a->state == PDU_HEAD ? begin_pdu(a) : begin_pdv(a)) == EVENT_BROKEN) return EVENT_BROKEN;
      break;
    case PDU_BODY:
      part = take(a, a->pdu_left, a->body + a->body_size);
      a->body_size += part, a->pdu_left -= (uint32_t)part;
      if (a->pdu_left) return EVENT_MORE;
      a->state = PDU_HEAD;
      return EVENT_PDU;
    case PDV_BODY:
      part = take(a, a->pdv_left, a->control & 1 ? a->command + a->command_size : NULL);
      a->pdv_left -= (uint32_t)part;
      if (a->control & 1) a->command_size += part;
      else a->data_set_bytes += part;
      if (a->pdv_left) return EVENT_MORE;
      a->state = a->pdu_left ? PDV_HEAD : PDU_HEAD;
      if (!(a->control & 2)) break;
      if (a->control & 1) return a->command_complete = 1, EVENT_COMMAND;
      return a->data_set_complete = 1, EVENT_DATA_SET;
    }
  }
}

/* Receives what is there, at least one byte. `flags` MSG_DONTWAIT: -2 if there is nothing. */
static inline int receive(struct association *a, int flags) {
  for (;;) {
    a->from = a->to = 0;
    ssize_t got = recv(a->fd, a->buffer, RECEIVE_BYTES, flags);
    if (got > 0) return a->to = (size_t)got, 0;
    if (got == 0) return fail(a, "the peer closed the connection");
    if (errno == EINTR) continue;
    if (errno == EAGAIN && flags & MSG_DONTWAIT) return -2;
    return fail(a, "receive: %s", errno == EAGAIN ? "no answer in time" : strerror(errno));
  }
}

/* The next event, waiting for it. An abort or a rejection is EVENT_BROKEN. */
static inline enum event wait_event(struct association *a) {
  for (;;) {
    enum event event = next_event(a);
    if (event == EVENT_MORE && !receive(a, 0)) continue;
    if (event == EVENT_MORE) return EVENT_BROKEN;
    if (event == EVENT_PDU && a->pdu_type == ABORT && a->body_size >= 4)
      fail(a, "A-ABORT, source %d reason %d", a->body[2], a->body[3]);
    if (event == EVENT_PDU && a->pdu_type == ASSOCIATE_RJ && a->body_size >= 4)
      fail(a, "A-ASSOCIATE-RJ, result %d source %d reason %d", a->body[1], a->body[2], a->body[3]);
    return a->error[0] ? EVENT_BROKEN : event;
  }
}

/* ---- association ---- */

struct proposed {
  const char *abstract_syntax, *transfer_syntax;
  int scp; /* we want to be the SCP of it */
};

struct proposal {
  const char *host, *calling, *called;
  int port, timeout_s;
  uint32_t max_pdu; /* that we take; 0: any */
  unsigned window;  /* operations that the peer may have under way here; 1: nothing is said about it */
  struct proposed contexts[MAX_PROPOSED]; /* with the IDs 1, 3, 5 ... */
  int count;
};

static inline void put_user_information(struct buffer *b, const struct proposal *p) {
  size_t start = b->size;
  put_u8(b, 0x50), put_u8(b, 0), put_be16(b, 0);
  put_be16(b, 0x5100), put_be16(b, 4), put_be32(b, p->max_pdu);
  put_item(b, 0x52, IMPLEMENTATION_CLASS);
  if (p->window != 1) put_be16(b, 0x5300), put_be16(b, 4), put_be16(b, 1), put_be16(b, p->window);
  for (int i = 0; i < p->count; i++) {
    if (!p->contexts[i].scp) continue;
    const char *uid = p->contexts[i].abstract_syntax;
    put_be16(b, 0x5400), put_be16(b, (unsigned)strlen(uid) + 4), put_be16(b, (unsigned)strlen(uid));
    put(b, uid, strlen(uid)), put_u8(b, 0), put_u8(b, 1);
  }
  set_be16(b->data + start + 2, b->size - start - 4);
}

static inline size_t associate_rq(uint8_t *to, const struct proposal *p) {
  struct buffer b = {to, 6};
  put_be16(&b, 1), put_be16(&b, 0);
  put_padded(&b, p->called, 16), put_padded(&b, p->calling, 16);
  for (int i = 0; i < 32; i++) put_u8(&b, 0);
  put_item(&b, 0x10, APPLICATION_CONTEXT);
  for (int i = 0; i < p->count; i++) {
    const struct proposed *c = &p->contexts[i];
    put_u8(&b, 0x20), put_u8(&b, 0), put_be16(&b, (unsigned)(4 + 4 + strlen(c->abstract_syntax) + 4 + strlen(c->transfer_syntax)));
    put_u8(&b, (unsigned)(2 * i + 1)), put_u8(&b, 0), put_u8(&b, 0), put_u8(&b, 0);
    put_item(&b, 0x30, c->abstract_syntax), put_item(&b, 0x40, c->transfer_syntax);
  }
  put_user_information(&b, p);
  to[0] = ASSOCIATE_RQ, to[1] = 0;
  set_be32(to + 2, b.size - 6);
  return b.size;
}

static inline void set_max_data(struct association *a, size_t max_length) {
  if (max_length < 16 || max_length > MAX_PDU) max_length = MAX_PDU; /* 0 is no limit; below 16 is none that works */
  a->max_data = (max_length - 6) & ~(size_t)1;
}

/* Reads from an A-ASSOCIATE-AC what was accepted, the peer's maximum length and its window. */
static inline int read_associate_ac(struct association *a) {
  const uint8_t *body = a->body;
  size_t max_length = 0;
  a->window = 1;
  for (size_t at = 68; at + 4 <= a->body_size;) {
    size_t length = be16(body + at + 2), end = at + 4 + length;
    if (end > a->body_size) return fail(a, "item runs over the end of the A-ASSOCIATE-AC");
    if (body[at] == 0x21 && length >= 4) a->accepted[body[at + 4]] = body[at + 6] == 0;
    for (size_t sub = at + 4; body[at] == 0x50 && sub + 8 <= end;) {
      size_t sub_length = be16(body + sub + 2);
      if (body[sub] == 0x51 && sub_length == 4) max_length = be32(body + sub + 4);
      if (body[sub] == 0x53 && sub_length == 4) a->window = be16(body + sub + 6);
      sub += 4 + sub_length;
    }
    at = end;
  }
  set_max_data(a, max_length);
  return 0;
}

static inline void set_timeouts(int fd, int seconds) {
  struct timeval timeout = {.tv_sec = seconds};
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
}

/* Connects and associates; all contexts have to be accepted. `a` is zeroed memory. */
static inline int associate(struct association *a, const struct proposal *p) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)p->port)};
  a->fd = -1;
  if (open_buffers(a)) return -1;
  if (inet_pton(AF_INET, p->host, &address.sin_addr) != 1) return fail(a, "not an IPv4 address");
  if ((a->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0) return fail(a, "socket: %s", strerror(errno));
  set_timeouts(a->fd, p->timeout_s);
  if (connect(a->fd, (struct sockaddr *)&address, sizeof address)) return fail(a, "connect: %s", strerror(errno));
  uint8_t pdu[4096];
  if (send_bytes(a, pdu, associate_rq(pdu, p)) || wait_event(a) == EVENT_BROKEN) return -1;
  if (a->pdu_type != ASSOCIATE_AC) return fail(a, "PDU type %d instead of an answer", a->pdu_type);
  if (read_associate_ac(a)) return -1;
  for (int i = 0; i < p->count; i++)
    if (!a->accepted[2 * i + 1]) return fail(a, "the peer refused %s", p->contexts[i].abstract_syntax);
  return 0;
}

static inline void release(struct association *a) {
  static const uint8_t release_rq[10] = {RELEASE_RQ, 0, 0, 0, 0, 4};
  set_timeouts(a->fd, 5);
  if (send_bytes(a, release_rq, sizeof release_rq) == 0) wait_event(a);
}

/* ---- messages ---- */

static inline void put_element(struct buffer *b, unsigned element, const char *text) {
  size_t size = strlen(text), padding = size & 1;
  put_le16(b, 0), put_le16(b, element), put_le32(b, (uint32_t)(size + padding)), put(b, text, size);
  if (padding) put_u8(b, 0);
}

static inline void put_us(struct buffer *b, unsigned element, unsigned value) {
  put_le16(b, 0), put_le16(b, element), put_le32(b, 2), put_le16(b, value);
}

/* A command set is written as a whole P-DATA-TF with one PDV: begin, put the elements from 0002 on, end. */
#define COMMAND_AT 24
static inline struct buffer begin_command(uint8_t *to) { return (struct buffer){to, COMMAND_AT}; }

static inline size_t end_command(const struct buffer *b, unsigned context) {
  struct buffer head = {b->data, 0};
  put_u8(&head, P_DATA_TF), put_u8(&head, 0), put_be32(&head, (uint32_t)(b->size - 6));
  put_be32(&head, (uint32_t)(b->size - 10)), put_u8(&head, context), put_u8(&head, 3);
  put_le16(&head, 0), put_le16(&head, 0), put_le32(&head, 4), put_le32(&head, (uint32_t)(b->size - COMMAND_AT));
  return b->size;
}

/* The value of an element of the command set received last; NULL if it has none. */
static inline const uint8_t *command_value(const struct association *a, unsigned element, size_t *size) {
  for (size_t at = 0; at + 8 <= a->command_size;) {
    uint32_t length = le32(a->command + at + 4);
    if (length > a->command_size - at - 8) return NULL;
    if (le16(a->command + at) == 0 && le16(a->command + at + 2) == element) return *size = length, a->command + at + 8;
    at += 8 + length;
  }
  return NULL;
}

static inline int command_us(const struct association *a, unsigned element) {
  size_t size;
  const uint8_t *value = command_value(a, element, &size);
  return value && size == 2 ? (int)le16(value) : -1;
}

/* A text of the command set without its padding; cut off if it is longer than `to`. */
static inline const char *command_text(const struct association *a, unsigned element, char *to, size_t capacity) {
  size_t size = 0;
  const uint8_t *value = command_value(a, element, &size);
  if (size >= capacity) size = capacity - 1;
  if (value) memcpy(to, value, size);
  while (size && (to[size - 1] == 0 || to[size - 1] == ' ')) size--;
  to[size] = 0;
  return to;
}

/* Says in the words of the peer why a status is no success. */
static inline int fail_status(struct association *a, int status) {
  char comment[96];
  command_text(a, 0x0902, comment, sizeof comment);
  for (char *c = comment; *c; c++)
    if (*c == '"' || *c == '\\' || (unsigned char)*c < 32 || (unsigned char)*c > 126) *c = '?'; /* it goes into JSON */
  return fail(a, "status 0x%04X%s%s", (unsigned)status, comment[0] ? ": " : "", comment);
}

/* ---- figures ---- */

static inline int by_size(const void *one, const void *other) {
  uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;
  return (a > b) - (a < b);
}

/* The nearest-rank percentile, in microseconds; 0 of nothing. */
static inline uint32_t percentile(const uint32_t *values, size_t count, unsigned percent) {
  uint32_t *sorted = count ? malloc(count * sizeof *sorted) : NULL, result;
  if (!sorted) return 0;
  memcpy(sorted, values, count * sizeof *sorted);
  qsort(sorted, count, sizeof *sorted, by_size);
  size_t at = count * percent / 100;
  result = sorted[at < count ? at : count - 1];
  free(sorted);
  return result;
}

static inline void print_list(const char *name, const uint32_t *values, size_t count) {
  printf("\"%s\": [", name);
  for (size_t i = 0; i < count; i++) printf("%s%u", i ? "," : "", values[i]);
  printf("]");
}
#endif
