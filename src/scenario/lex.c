/* SPDX-License-Identifier: MIT */
/* Scenario text into lines, and lines into tokens. */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "parse.h"

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_name_char(char c)
{
	return is_letter(c) || is_digit(c) || c == '_' || c == '-';
}

/* Length of the UTF-8 character at s, 0 if there is none:
 * no long forms, no surrogates, nothing above U+10FFFF. */
static size_t utf8_len(const unsigned char *s, const unsigned char *end)
{
	size_t len = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

	if (s[0] > 0xf4 || (size_t)(end - s) < len)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return len;
}

void hf_lex_init(struct hf_lexer *lx, const char *text, size_t len)
{
	*lx = (struct hf_lexer){ .next = text, .end = text + len };
}

int hf_lex_column(const struct hf_lexer *lx, const char *at)
{
	int column = 1;

	for (const char *s = lx->start; s < at; s++)
		column += (*s & 0xc0) != 0x80;
	return column;
}

const char *hf_lex_first(const struct hf_lexer *lx)
{
	const char *s = lx->start;

	while (s < lx->stop && is_blank(*s))
		s++;
	return s;
}

static int __attribute__((format(printf, 4, 5)))
bad_line(const struct hf_lexer *lx, struct hf_parse_error *err, const char *at, const char *fmt,
	 ...)
{
	va_list ap;

	err->line = lx->line;
	err->column = hf_lex_column(lx, at);
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* The line must be short UTF-8 text without control characters. */
static int check_line(const struct hf_lexer *lx, const char *end, struct hf_parse_error *err)
{
	const char *s = lx->start;

	while (s < end) {
		size_t len = utf8_len((const unsigned char *)s, (const unsigned char *)end);

		if (len == 0)
			return bad_line(lx, err, s, "expected UTF-8 text, found the byte 0x%02x",
					(unsigned char)*s);
		if (s - lx->start + len > HF_SCN_MAX_LINE)
			return bad_line(lx, err, s,
					"expected at most %d bytes in a line, found %zu",
					HF_SCN_MAX_LINE, (size_t)(end - lx->start));
		if (((unsigned char)*s < ' ' && *s != '\t') || *s == 0x7f)
			return bad_line(lx, err, s,
					"expected text, found the control character 0x%02x",
					(unsigned char)*s);
		s += len;
	}
	return 0;
}

/* Finds where the comment starts, if there is one, and drops blanks before it. */
static int strip_comment(struct hf_lexer *lx, const char *end, struct hf_parse_error *err)
{
	const char *quote = NULL;
	const char *s;

	for (s = lx->start; s < end && (quote || *s != '#'); s++)
		if (*s == '"')
			quote = quote ? NULL : s;
	if (quote)
		return bad_line(lx, err, quote, "expected a closing '\"', found end of line");
	while (s > lx->start && is_blank(s[-1]))
		s--;
	lx->stop = s;
	return 0;
}

int hf_lex_line(struct hf_lexer *lx, struct hf_parse_error *err)
{
	const char *end;
	int ret;

	if (lx->next == lx->end)
		return 0;
	lx->line++;
	lx->start = lx->next;
	end = memchr(lx->start, '\n', (size_t)(lx->end - lx->start));
	lx->next = end ? end + 1 : lx->end;
	if (!end)
		end = lx->end;
	if (end > lx->start && end[-1] == '\r')
		end--;
	ret = check_line(lx, end, err);
	if (!ret)
		ret = strip_comment(lx, end, err);
	if (ret)
		return ret;
	lx->at = lx->start;
	hf_lex_next(lx);
	return 1;
}

static int digit_value(char c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 16;
}

/* Numbers end where names would: 12ab is one bad token, not two good ones. */
static enum hf_token_kind lex_number(struct hf_token *tok)
{
	bool hex = tok->len > 2 && tok->text[0] == '0' && (tok->text[1] | 0x20) == 'x';
	uint64_t base = hex ? 16 : 10;

	tok->number = 0;
	for (size_t i = hex ? 2 : 0; i < tok->len; i++) {
		uint64_t digit = (uint64_t)digit_value(tok->text[i]);

		if (digit >= base)
			return HF_T_BAD;
		if (tok->number > (UINT64_MAX - digit) / base)
			tok->number = UINT64_MAX;
		else
			tok->number = tok->number * base + digit;
	}
	return HF_T_NUMBER;
}

void hf_lex_next(struct hf_lexer *lx)
{
	struct hf_token *tok = &lx->tok;
	const char *s;

	if (!lx->at)
		return;
	while (lx->at < lx->stop && is_blank(*lx->at))
		lx->at++;
	s = lx->at;
	*tok = (struct hf_token){ .kind = HF_T_END, .text = s };
	if (s == lx->stop)
		return;
	if (*s == '"') { /* strip_comment() has seen the other one */
		s = memchr(s + 1, '"', (size_t)(lx->stop - s - 1));
		tok->kind = HF_T_STRING;
		tok->text++;
		tok->len = (size_t)(s - tok->text);
		lx->at = s + 1;
		return;
	}
	if (is_name_char(*s)) {
		while (s < lx->stop && is_name_char(*s))
			s++;
		tok->len = (size_t)(s - tok->text);
		tok->kind = is_digit(*tok->text)    ? lex_number(tok)
			    : is_letter(*tok->text) ? HF_T_NAME
						    : HF_T_BAD;
	} else if (strchr(":,.@[]{}|", *s)) {
		tok->kind = HF_T_PUNCT;
		tok->len = lx->stop - s > 1 && s[0] == '.' && s[1] == '.' ? 2 : 1;
	} else {
		tok->kind = HF_T_BAD;
		tok->len = utf8_len((const unsigned char *)s, (const unsigned char *)lx->stop);
	}
	lx->at = tok->text + tok->len;
}

void hf_lex_dotted(struct hf_lexer *lx)
{
	const char *s = lx->at;

	if (lx->tok.kind != HF_T_NAME)
		return;
	while (lx->stop - s > 1 && s[0] == '.' && is_name_char(s[1])) {
		s++;
		while (s < lx->stop && is_name_char(*s))
			s++;
	}
	lx->at = s;
	lx->tok.len = (size_t)(s - lx->tok.text);
}

bool hf_token_is(const struct hf_token *tok, const char *word)
{
	return tok->kind == HF_T_NAME && tok->len == strlen(word) &&
	       !memcmp(tok->text, word, tok->len);
}
