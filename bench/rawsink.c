/* rawsink: a storage SCP that forgets everything, so that it is never what a retrieval waits for.
 *
 * Theory of operation. One thread waits in epoll for all connections. What arrives is taken apart by the parser of
 * dul.h; data sets are counted, and answered with Success as soon as their last byte has been read. Every abstract
 * syntax is accepted, with the transfer syntax that --syntax names or the first one offered; nothing is known of any of
 * them. What a peer does not take of our answers waits in a small buffer, and a peer that lets that overflow is cut off.
 *
 * Output: a line with the port as soon as it listens; when it is told to end (SIGTERM, SIGINT) or nothing has happened
 * for --idle seconds, one JSON object. Exit status 0 if no association broke off, else 1; 2 for a mistake in the
 * arguments.
 */
#include "swallow.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#define MAX_CONNECTIONS 256
#define MAX_CONTEXTS 128
#define OUT_BYTES 65536
#define READS_IN_A_ROW 16 /* then the others have their turn */

struct connection {
  struct association association;
  uint8_t *out;
  size_t out_size;
  uint8_t response[STORE_RSP_BYTES]; /* to the C-STORE whose data set is arriving */
  size_t response_size;
  int used, established, closing, wants_out;
};

static struct {
  const char *syntax; /* NULL: the first one offered */
  uint32_t max_pdu;
  unsigned window;
  int port, idle_s;
} settings = {.max_pdu = 131072, .window = 1, .idle_s = 60};

static struct connection connections[MAX_CONNECTIONS];
static struct {
  long associations, refused, broken, objects, echoes;
  uint64_t bytes;
  unsigned window; /* of the last association */
  double first, last;
  char error[256];
} totals;
static int epoll_fd, of_signals, of_listener; /* the latter two only lend epoll their addresses */

/* ---- connections ---- */

static void forget(struct connection *c) {
  struct association *a = &c->association;
  if (a->error[0]) {
    totals.broken++;
    if (!totals.error[0]) memcpy(totals.error, a->error, sizeof totals.error);
  }
  close_association(a);
  free(c->out);
  memset(c, 0, sizeof *c);
}

static void watch(struct connection *c, int operation) {
  struct epoll_event event = {.events = EPOLLIN | (c->wants_out ? EPOLLOUT : 0), .data.ptr = c};
  if (epoll_ctl(epoll_fd, operation, c->association.fd, &event)) fail(&c->association, "epoll: %s", strerror(errno));
}

static void take_connection(int listener) {
  int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  for (int i = 0; i < MAX_CONNECTIONS; i++) {
    struct connection *c = &connections[i];
    if (c->used) continue;
    c->used = 1, c->association.fd = fd, c->out = malloc(OUT_BYTES);
    set_timeouts(fd, 60);
    if (open_buffers(&c->association) || !c->out) fail(&c->association, "out of memory");
    else watch(c, EPOLL_CTL_ADD);
    if (c->association.error[0]) forget(c);
    return;
  }
  totals.refused++;
  close(fd);
}

static int flush_out(struct connection *c) {
  struct association *a = &c->association;
  size_t at = 0;
  while (at < c->out_size) {
    ssize_t sent = send(a->fd, c->out + at, c->out_size - at, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno != EAGAIN) return fail(a, "send: %s", strerror(errno));
    if (sent < 0) break;
    at += (size_t)sent;
  }
  memmove(c->out, c->out + at, c->out_size - at), c->out_size -= at;
  if (c->wants_out != (c->out_size > 0)) c->wants_out = c->out_size > 0, watch(c, EPOLL_CTL_MOD);
  return a->error[0] ? -1 : 0;
}

static int answer(struct connection *c, const void *bytes, size_t size) {
  if (size > OUT_BYTES - c->out_size) return fail(&c->association, "the peer takes no answers");
  memcpy(c->out + c->out_size, bytes, size), c->out_size += size;
  return flush_out(c);
}

/* ---- negotiation ---- */

/* Writes the answer to one presentation context; `at` is its item in the request. */
static void answer_context(struct buffer *b, const uint8_t *item, size_t length) {
  char chosen[MAX_UID + 1] = "";
  for (size_t at = 4; at + 4 <= length;) { /* its sub-items, after ID and three reserved bytes */
    size_t size = be16(item + 4 + at + 2);
    const uint8_t *value = item + 4 + at + 4;
    if (at + 4 + size > length) break;
    int fits = item[4 + at] == 0x40 && size && size <= MAX_UID && !chosen[0];
    if (fits && (!settings.syntax || (strlen(settings.syntax) == size && !memcmp(settings.syntax, value, size)))) memcpy(chosen, value, size);
    at += 4 + size;
  }
  const char *syntax = chosen[0] ? chosen : IMPLICIT_VR_LITTLE_ENDIAN; /* not significant in a refusal */
  put_u8(b, 0x21), put_u8(b, 0), put_be16(b, (unsigned)(8 + strlen(syntax)));
  put_u8(b, item[4]), put_u8(b, 0), put_u8(b, chosen[0] ? 0 : 4), put_u8(b, 0), put_item(b, 0x40, syntax);
}

/* The smaller of two windows, in which 0 is no limit. */
static unsigned narrower(unsigned one, unsigned other) { return !one || (other && other < one) ? other : one; }

static int associate_ac(struct connection *c) {
  static uint8_t pdu[256 + MAX_CONTEXTS * (16 + MAX_UID)];
  struct association *a = &c->association;
  const uint8_t *body = a->body;
  if (a->body_size < 68) return fail(a, "A-ASSOCIATE-RQ of %zu bytes", a->body_size);
  struct buffer b = {pdu, 6};
  put_be16(&b, 1), put_be16(&b, 0), put(&b, body + 4, 64), put_item(&b, 0x10, APPLICATION_CONTEXT);
  int offered = 0, contexts = 0;
  unsigned peers = 1;
  size_t max_length = 0;
  for (size_t at = 68, end; at + 4 <= a->body_size; at = end) {
    size_t length = be16(body + at + 2);
    end = at + 4 + length;
    if (end > a->body_size || (body[at] == 0x20 && (length < 4 || ++contexts > MAX_CONTEXTS))) return fail(a, "malformed A-ASSOCIATE-RQ");
    if (body[at] == 0x20) answer_context(&b, body + at, length);
    for (size_t sub = at + 4; body[at] == 0x50 && sub + 4 <= end; sub += 4 + be16(body + sub + 2)) {
      size_t sub_length = be16(body + sub + 2);
      if (sub + 4 + sub_length > end) return fail(a, "malformed user information");
      if (body[sub] == 0x51 && sub_length == 4) max_length = be32(body + sub + 4);
      if (body[sub] == 0x53 && sub_length == 4) offered = 1, peers = be16(body + sub + 4);
    }
  }
  set_max_data(a, max_length);
  a->window = offered ? narrower(peers, settings.window) : 1;
  totals.window = a->window;
  put_be16(&b, 0x5000), put_be16(&b, (unsigned)(8 + 4 + strlen(IMPLEMENTATION_CLASS) + (offered ? 8 : 0)));
  put_be16(&b, 0x5100), put_be16(&b, 4), put_be32(&b, settings.max_pdu), put_item(&b, 0x52, IMPLEMENTATION_CLASS);
  if (offered) put_be16(&b, 0x5300), put_be16(&b, 4), put_be16(&b, a->window), put_be16(&b, 1);
  pdu[0] = ASSOCIATE_AC, pdu[1] = 0;
  set_be32(pdu + 2, b.size - 6);
  c->established = 1, totals.associations++;
  return answer(c, pdu, b.size);
}

/* ---- messages ---- */

static int take_pdu(struct connection *c) {
  static const uint8_t release_rp[10] = {RELEASE_RP, 0, 0, 0, 0, 4};
  struct association *a = &c->association;
  switch (a->pdu_type) {
  case ASSOCIATE_RQ:
    return c->established ? fail(a, "a second A-ASSOCIATE-RQ") : associate_ac(c);
  case RELEASE_RQ:
    c->closing = 1;
    return answer(c, release_rp, sizeof release_rp);
  case ABORT:
    return fail(a, "A-ABORT from the peer");
  default:
    return fail(a, "PDU of type %u", a->pdu_type);
  }
}

static int take_command(struct connection *c) {
  struct association *a = &c->association;
  if (!c->established || c->response_size) return fail(a, "a command where none belongs");
  int message_id = command_us(a, 0x0110);
  if (command_us(a, 0x0100) == C_ECHO_RQ && message_id >= 0) {
    uint8_t response[STORE_RSP_BYTES];
    struct buffer b = begin_command(response);
    put_element(&b, 0x0002, VERIFICATION), put_us(&b, 0x0100, IS_RSP | C_ECHO_RQ), put_us(&b, 0x0120, (unsigned)message_id);
    put_us(&b, 0x0800, 0x0101), put_us(&b, 0x0900, 0), totals.echoes++;
    return answer(c, response, end_command(&b, a->context));
  }
  c->response_size = store_response(a, c->response);
  return c->response_size ? 0 : fail(a, "a command that is neither C-STORE nor C-ECHO");
}

static int take_data_set(struct connection *c) {
  struct association *a = &c->association;
  size_t size = c->response_size;
  if (!size) return fail(a, "a data set without a command");
  if (!totals.objects) totals.first = now();
  totals.objects++, totals.bytes += a->data_set_bytes, totals.last = now(), c->response_size = 0;
  return answer(c, c->response, size);
}

static int take_events(struct connection *c) {
  for (;;) {
    switch (next_event(&c->association)) {
    case EVENT_MORE: return 0;
    case EVENT_BROKEN: return -1;
    case EVENT_PDU:
      if (take_pdu(c)) return -1;
      break;
    case EVENT_COMMAND:
      if (take_command(c)) return -1;
      break;
    case EVENT_DATA_SET:
      if (take_data_set(c)) return -1;
      break;
    }
  }
}

static void serve(struct connection *c, uint32_t events) {
  struct association *a = &c->association;
  if (!c->used) return;
  int done = events & EPOLLOUT && flush_out(c);
  for (int reads = 0; !done && events & (EPOLLIN | EPOLLHUP | EPOLLERR) && reads < READS_IN_A_ROW; reads++) {
    int got = receive(a, MSG_DONTWAIT);
    if (got == -2) break;
    if (got && (c->closing || !c->established)) a->error[0] = 0; /* released, or a connection that never was more */
    done = got || take_events(c);
  }
  if (done) forget(c);
}

/* ---- the run ---- */

static int listen_on(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, (struct sockaddr *)&address, size) || listen(fd, 64) || getsockname(fd, (struct sockaddr *)&address, &size)) {
    close(fd);
    return -1;
  }
  printf("{\"port\": %d}\n", ntohs(address.sin_port));
  fflush(stdout);
  return fd;
}

static void loop(int listener) {
  struct epoll_event events[64];
  for (;;) {
    int count = epoll_wait(epoll_fd, events, 64, settings.idle_s * 1000);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return; /* nothing for too long */
    for (int i = 0; i < count; i++) {
      if (events[i].data.ptr == &of_signals) return;
      if (events[i].data.ptr == &of_listener) take_connection(listener);
      else serve(events[i].data.ptr, events[i].events);
    }
  }
}

static int run(void) {
  sigset_t ends;
  sigemptyset(&ends), sigaddset(&ends, SIGTERM), sigaddset(&ends, SIGINT);
  sigprocmask(SIG_BLOCK, &ends, NULL);
  int signals = signalfd(-1, &ends, SFD_CLOEXEC), listener = listen_on(settings.port);
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event ended = {.events = EPOLLIN, .data.ptr = &of_signals}, called = {.events = EPOLLIN, .data.ptr = &of_listener};
  if (signals < 0 || listener < 0 || epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, signals, &ended) ||
      epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &called))
    return fprintf(stderr, "rawsink: %s\n", strerror(errno)), 2;
  loop(listener);
  for (int i = 0; i < MAX_CONNECTIONS; i++)
    if (connections[i].used) forget(&connections[i]);
  close(listener), close(signals), close(epoll_fd);
  printf("{\"objects\": %ld, \"bytes\": %llu, \"associations\": %ld, \"refused\": %ld, \"broken\": %ld, \"echoes\": %ld, ", totals.objects,
         (unsigned long long)totals.bytes, totals.associations, totals.refused, totals.broken, totals.echoes);
  printf("\"window\": %u, \"busy_s\": %.6f, \"cpu_s\": %.4f, \"error\": \"%s\"}\n", totals.window, totals.last - totals.first,
         cpu_seconds(), totals.error);
  return totals.broken ? 1 : 0;
}

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i += 2) {
    const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
    if (!strcmp(name, "--port")) settings.port = atoi(value);
    else if (!strcmp(name, "--syntax")) settings.syntax = value;
    else if (!strcmp(name, "--pdu")) settings.max_pdu = (uint32_t)strtoul(value, NULL, 10);
    else if (!strcmp(name, "--window")) settings.window = (unsigned)atoi(value);
    else if (!strcmp(name, "--idle")) settings.idle_s = atoi(value);
    else return fprintf(stderr, "rawsink: unknown option %s\n", name), 2;
  }
  if (settings.idle_s < 1 || settings.idle_s > 86400 || settings.port < 0 || settings.port > 65535 || settings.window > 65535)
    return fprintf(stderr, "rawsink: --idle in seconds, --port, --window up to 65535\n"), 2;
  return run();
}
