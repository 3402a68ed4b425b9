// SPDX-License-Identifier: GPL-2.0
/* Notes the violations that the walk of verify.c finds, to be shown at its end. */
#include <linux/seq_buf.h>

#include "verify.h"

/**
 * ksm_verify_fail - note a violation
 * @verify: the walk
 * @format: a line without its end, as for printf()
 */
void ksm_verify_fail(struct ksm_verify *verify, const char *format, ...)
{
	va_list args;

	if (verify->violations++ >= KSM_VERIFY_LINES)
		return;
	va_start(args, format);
	seq_buf_vprintf(&verify->text, format, args);
	va_end(args);
	seq_buf_putc(&verify->text, '\n');
}
