/* Identifiers of queries and retrievals, in Implicit VR Little Endian, from keys given on the command line.
 *
 * A key is `ggggeeee=value` (--key) or `ggggeeee` (--vary), whose value is another one each time: the values of all
 * varying keys are the columns, separated by tabs, of one line of the file that --values names. Its first column is
 * the number of answers to expect, or -1.
 */
#ifndef PACSLITE_BENCH_IDENTIFIER_H
#define PACSLITE_BENCH_IDENTIFIER_H

#include "dul.h"

#define MAX_KEYS 64
#define MAX_IDENTIFIER 65536
#define MAX_FRAGMENTS 72 /* of an identifier: PDUs are never shorter than a KiB in practice */
#define QUERY_RETRIEVE_LEVEL 0x00080052u

struct key {
  uint32_t tag;
  const char *value;
  int column; /* of the values' file, from 1; 0: `value` is all there is */
};

struct identifier {
  struct key keys[MAX_KEYS];
  int count, columns;
  char *text, **lines; /* the file of values and the beginnings of its lines */
  long line_count;
};

static inline int by_tag(const void *one, const void *other) {
  uint32_t a = ((const struct key *)one)->tag, b = ((const struct key *)other)->tag;
  return (a > b) - (a < b);
}

/* Adds `ggggeeee=value`, or a varying key; -1 if that is not what it is. */
static inline int add_key(struct identifier *id, const char *text, int varies) {
  char *end;
  unsigned long tag = strtoul(text, &end, 16);
  if (end != text + 8 || *end != (varies ? 0 : '=') || id->count == MAX_KEYS) return -1;
  id->keys[id->count++] = (struct key){(uint32_t)tag, varies ? NULL : end + 1, varies ? ++id->columns : 0};
  return 0;
}

static inline int read_values(struct identifier *id, const char *path) {
  FILE *file = fopen(path, "rb");
  long size = -1, most = 0;
  if (file && !fseek(file, 0, SEEK_END)) size = ftell(file);
  if (size >= 0 && !fseek(file, 0, SEEK_SET)) id->text = malloc((size_t)size + 1);
  if (!id->text || fread(id->text, 1, (size_t)size, file) != (size_t)size) size = -1;
  if (file) fclose(file);
  if (size < 0) return -1;
  id->text[size] = 0;
  for (long i = 0; i < size; i++) most += id->text[i] == '\n';
  if (!most || !(id->lines = calloc((size_t)most, sizeof *id->lines))) return -1;
  for (char *line = id->text, *end; id->line_count < most; line = end + 1) {
    end = strchr(line, '\n'), *end = 0;
    id->lines[id->line_count++] = line;
  }
  return 0;
}

static inline void free_values(struct identifier *id) { free(id->text), free(id->lines); }

/* The column of a line and its length; an empty one if there are fewer. */
static inline const char *column_of(const char *line, int column, size_t *size) {
  for (; column && line; column--) line = (line = strchr(line, '\t')) ? line + 1 : NULL;
  *size = line ? strcspn(line, "\t") : 0;
  return line ? line : "";
}

/* How many answers the query with this number expects; -1 if nobody said. */
static inline long expected_answers(const struct identifier *id, long number) {
  return id->line_count ? atol(id->lines[number % id->line_count]) : -1;
}

static inline int is_uid(uint32_t tag) {
  return tag == 0x00080016 || tag == 0x00080018 || tag == 0x0020000D || tag == 0x0020000E;
}

/* The identifier of the query with this number; its size, or 0 if it is too long. The keys have to be in order. */
static inline size_t write_identifier(const struct identifier *id, long number, uint8_t *to) {
  struct buffer b = {to, 0};
  for (int i = 0; i < id->count; i++) {
    const struct key *key = &id->keys[i];
    const char *value = key->value;
    size_t size = value ? strlen(value) : 0;
    if (key->column) value = column_of(id->lines[number % id->line_count], key->column, &size);
    if (b.size + 8 + size + 1 > MAX_IDENTIFIER) return 0;
    put_le16(&b, key->tag >> 16), put_le16(&b, key->tag & 0xffff), put_le32(&b, (uint32_t)(size + (size & 1)));
    put(&b, value, size);
    if (size & 1) put_u8(&b, is_uid(key->tag) ? 0 : ' ');
  }
  return b.size;
}

/* Sends the command (made with begin_command) and the identifier in one go. */
static inline int send_request(struct association *a, uint8_t *command, size_t command_size, const uint8_t *data, size_t size) {
  struct iovec iov[1 + 2 * MAX_FRAGMENTS] = {{command, command_size}};
  uint8_t heads[MAX_FRAGMENTS][12];
  size_t count = 1;
  for (size_t at = 0, number = 0, part; at < size; at += part, number++) {
    if (number == MAX_FRAGMENTS) return fail(a, "the peer takes PDUs of %zu bytes only", a->max_data + 6);
    part = size - at < a->max_data ? size - at : a->max_data;
    uint8_t *head = heads[number];
    head[0] = P_DATA_TF, head[1] = 0, head[10] = command[10], head[11] = at + part == size ? 2 : 0;
    set_be32(head + 2, part + 6), set_be32(head + 6, part + 2);
    iov[count++] = (struct iovec){head, 12}, iov[count++] = (struct iovec){(void *)(uintptr_t)(data + at), part};
  }
  return send_all(a, iov, count);
}
#endif
