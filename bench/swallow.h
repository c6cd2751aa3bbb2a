/* What the two receivers of C-STORE (rawsink, rawget) share: the response. */
#ifndef PACSLITE_BENCH_SWALLOW_H
#define PACSLITE_BENCH_SWALLOW_H

#include "dul.h"

#define STORE_RSP_BYTES 512 /* at most */

/* Writes the Success for the C-STORE-RQ that was received last; 0 if that is none. */
static inline size_t store_response(const struct association *a, uint8_t *to) {
  char sop_class[MAX_UID + 2], instance[MAX_UID + 2];
  int message_id = command_us(a, 0x0110);
  if (command_us(a, 0x0100) != C_STORE_RQ || message_id < 0 || command_us(a, 0x0800) == 0x0101) return 0;
  struct buffer b = begin_command(to);
  put_element(&b, 0x0002, command_text(a, 0x0002, sop_class, sizeof sop_class));
  put_us(&b, 0x0100, IS_RSP | C_STORE_RQ), put_us(&b, 0x0120, (unsigned)message_id), put_us(&b, 0x0800, 0x0101);
  put_us(&b, 0x0900, 0), put_element(&b, 0x1000, command_text(a, 0x1000, instance, sizeof instance));
  return end_command(&b, a->context);
}
#endif
