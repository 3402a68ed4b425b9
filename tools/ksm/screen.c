// SPDX-License-Identifier: GPL-2.0
/*
 * ksmadm top on a terminal: the list, and above it the memory saved over time.
 * If it does not fit, the least important columns go first. Colours repeat what
 * the text says.
 */
#define _XOPEN_SOURCE_EXTENDED
#include <curses.h>
#include <langinfo.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#include "ksmadm.h"

#define MIB		(1024.0 * 1024.0)
#define HISTORY		1024
#define LEVELS		8
#define LINE_BYTES	2048

enum colour { PLAIN, GRAPH, LOSS };

/* In the order of display. If space is tight, those with a higher rank go first. */
static const struct shown_column {
	enum column column;
	const char *title;
	int width;		/* less than 0: to the left; 0: what is left */
	int rank;
	int key;
} shown_columns[] = {
	{ BY_PID, "PID", 7, 0, 'p' },
	{ BY_MERGEABLE, "MERGEABLE", 10, 3, 'a' },
	{ BY_MERGED, "MERGED", 9, 1, 'm' },
	{ BY_ZERO, "ZERO", 9, 4, 'z' },
	{ BY_METADATA, "METADATA", 9, 5, 'd' },
	{ BY_PROFIT, "PROFIT", 9, 0, 'f' },
	{ BY_COMMAND, "COMMAND", -12, 0, 'c' },
	{ BY_CGROUP, "CGROUP", 0, 6, 'g' },
};

#define NR_SHOWN	((int)(sizeof(shown_columns) / sizeof(shown_columns[0])))

static struct view {
	struct top_options *o;
	struct list list;
	size_t nr, first;	/* rows that there are to show; the first that is */
	struct sample s, before;
	double cpu_percent;
	double history[HISTORY];	/* MiB */
	unsigned int nr_history;
	char run[VALUE_BYTES];
	bool utf8, on_screen;
} view;

/* However this ends, the terminal must not stay in this state. */
static void leave(void)
{
	if (view.on_screen)
		endwin();
	view.on_screen = false;
}

bool screen_possible(void)
{
	const char *term = getenv("TERM");

	return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && term && *term &&
	       strcmp(term, "dumb");
}

static void update(void)
{
	list_update(&view.list);
	view.before = view.s;
	sample_take(&view.s);
	if (view.before.time > 0)
		view.cpu_percent = 100 * (view.s.cpu - view.before.cpu) /
				   (view.s.time - view.before.time);
	if (view.nr_history == HISTORY) {
		view.nr_history--;
		memmove(view.history, view.history + 1,
			view.nr_history * sizeof(view.history[0]));
	}
	view.history[view.nr_history++] = (double)saved_bytes(&view.s) / MIB;
	if (ksmfs_read("run", view.run, sizeof(view.run)))
		view.run[0] = '\0';
}

/* At most @width columns of a text; '?' stands for what is no character. */
static void fit(char *to, size_t size, const char *from, int width)
{
	mbstate_t state = { 0 };
	size_t done = 0, bytes;
	wchar_t wide;
	int columns;

	while (*from && done + MB_CUR_MAX < size) {
		bytes = mbrtowc(&wide, from, strlen(from), &state);
		columns = bytes > MB_CUR_MAX ? -1 : wcwidth(wide);
		if (columns > width || width <= 0)
			break;
		if (columns < 0) {
			memset(&state, 0, sizeof(state));
			to[done++] = '?';
			columns = 1;
			bytes = bytes > MB_CUR_MAX ? 1 : bytes;
		} else {
			memcpy(to + done, from, bytes);
			done += bytes;
		}
		from += bytes;
		width -= columns;
	}
	to[done] = '\0';
}

/* The last @width columns of a path, which say more than the first */
static void fit_end(char *to, size_t size, const char *path, int width)
{
	const char *mark = view.utf8 ? "\u2026" : "<";
	size_t length = strlen(path);

	if (length <= (size_t)width || width < 2) {
		fit(to, size, path, width);
		return;
	}
	path += length - (size_t)width + 1;
	/* Do not start in the middle of a character */
	while ((*path & 0xc0) == 0x80)
		path++;
	snprintf(to, size, "%s", mark);
	fit(to + strlen(mark), size - strlen(mark), path, width - 1);
}

static void put_line(int y, attr_t how, const char *text)
{
	char line[LINE_BYTES];

	fit(line, sizeof(line), text, COLS);
	attrset(how);
	mvaddstr(y, 0, line);
	clrtoeol();
	attrset(A_NORMAL);
}

static attr_t paint(enum colour colour)
{
	return view.o->colour ? (attr_t)COLOR_PAIR(colour) : A_NORMAL;
}

static int width_of(const struct shown_column *c)
{
	if (c->column == BY_COMMAND && COLS >= 100)
		return 16;
	return c->width < 0 ? -c->width : c->width ? c->width : 8;
}

/* The highest rank that still fits */
static int highest_rank(void)
{
	int rank, i, width;

	for (rank = 6; rank > 0; rank--) {
		width = 0;
		for (i = 0; i < NR_SHOWN; i++)
			if (shown_columns[i].rank <= rank)
				width += width_of(&shown_columns[i]) + 1;
		if (width - 1 <= COLS)
			break;
	}
	return rank;
}

static const char *mib(char *text, size_t size, long long bytes)
{
	double value = profit_mib(bytes);

	snprintf(text, size, fabs(value) < 9999.95 ? "%.1f" : "%.0f", value);
	return text;
}

static const char *cell(const struct row *r, enum column which, char *text, size_t size)
{
	switch (which) {
	case BY_PID:
		snprintf(text, size, "%d", r->p.pid);
		return text;
	case BY_COMMAND:
		return r->p.command;
	case BY_CGROUP:
		return r->p.cgroup;
	case BY_MERGEABLE:
		return mib(text, size, r->reg.rss);
	case BY_MERGED:
		return mib(text, size, r->p.merged * page_bytes());
	case BY_ZERO:
		return mib(text, size, r->p.zero * page_bytes());
	case BY_METADATA:
		return mib(text, size, process_metadata(&r->p));
	default:
		return mib(text, size, r->p.profit);
	}
}

static void put_row(int y, const struct row *r, int rank)
{
	char text[512], line[512];
	const char *value;
	int i, x = 0;

	move(y, 0);
	for (i = 0; i < NR_SHOWN && x < COLS; i++) {
		const struct shown_column *c = &shown_columns[i];
		bool sorted = c->column == view.o->by;
		int width = c->width ? width_of(c) : COLS - x;

		if (c->rank > rank)
			continue;
		width = width < COLS - x ? width : COLS - x;
		value = r ? cell(r, c->column, text, sizeof(text)) : c->title;
		if (r && c->column == BY_CGROUP)
			fit_end(line, sizeof(line), value, width);
		else
			fit(line, sizeof(line), value, width);
		if (!r)
			attrset(sorted ? A_REVERSE | A_BOLD : A_REVERSE);
		else if (c->column == BY_PROFIT && r->p.profit < 0)
			attrset(paint(LOSS) | (sorted ? A_BOLD : A_NORMAL));
		else
			attrset(sorted ? A_BOLD : A_NORMAL);
		if (!r)
			mvhline(y, x, ' ', width);
		mvaddstr(y, c->width > 0 ? x + width - (int)strlen(line) : x, line);
		x += width;
		if (x < COLS)
			mvaddch(y, x++, ' ');
	}
	if (!r && x < COLS)
		mvhline(y, x, ' ', COLS - x);
	attrset(A_NORMAL);
}

static bool is_narrow(void)
{
	return COLS < 70;
}

static void put_head(void)
{
	char line[LINE_BYTES];
	bool estimated;
	char saved[32], profit[32], metadata[32];

	mib(saved, sizeof(saved), saved_bytes(&view.s));
	mib(profit, sizeof(profit), profit_bytes(&view.s, &estimated));
	mib(metadata, sizeof(metadata), metadata_bytes(&view.s, &estimated));
	snprintf(line, sizeof(line), "KSM %s, saved %s MiB, profit %s%s%s%s",
		 strcmp(view.run, "1") ? "off" : "on", saved, profit,
		 is_narrow() ? "" : ", metadata ", is_narrow() ? "" : metadata,
		 estimated && !is_narrow() ? " (estimated)" : "");
	put_line(0, A_BOLD, line);
	snprintf(line, sizeof(line), "ksmd %.1f %% CPU, %lld %s, %zu process%s%s",
		 view.cpu_percent, view.s.value[FULL_SCANS], is_narrow() ? "scans" : "full scans",
		 view.nr, view.nr == 1 ? "" : "es",
		 view.list.unread ? " (others need root)" : "");
	if (LINES > 1)
		put_line(1, A_NORMAL, line);
}

/* How full a cell is, from 0 to LEVELS */
static const char *level(int filled)
{
	static const char *const blocks[LEVELS + 1] = {
		" ", "\u2581", "\u2582", "\u2583", "\u2584", "\u2585", "\u2586", "\u2587", "\u2588"
	};
	static const char *const letters[LEVELS + 1] = {
		" ", "_", "_", ".", ".", "-", "-", "=", "#"
	};

	return view.utf8 ? blocks[filled] : letters[filled];
}

/* The newest value is at the right. The label at the left is the highest value. */
static void put_history(int y, int height)
{
	double most = 1;
	char label[32];
	int left, x, row;
	unsigned int i;

	for (i = 0; i < view.nr_history; i++)
		most = view.history[i] > most ? view.history[i] : most;
	snprintf(label, sizeof(label), "%8.1f MiB ", most);
	left = COLS >= 40 ? (int)strlen(label) : 0;
	for (row = 0; row < height; row++) {
		move(y + row, 0);
		clrtoeol();
	}
	if (left)
		mvaddstr(y, 0, label);
	if (left && height > 1)
		mvaddstr(y + height - 1, 0, "     0.0 MiB ");
	attrset(paint(GRAPH));
	for (x = COLS - 1, i = view.nr_history; x >= left && i > 0; x--) {
		int filled = (int)lround(view.history[--i] / most * height * LEVELS);

		for (row = height - 1; row >= 0; row--, filled -= LEVELS) {
			if (filled <= 0)
				break;
			mvaddstr(y + row, x, level(filled > LEVELS ? LEVELS : filled));
		}
	}
	attrset(A_NORMAL);
}

static int history_height(void)
{
	return LINES >= 30 ? 5 : LINES >= 20 ? 3 : LINES >= 9 ? 1 : 0;
}

static void put_foot(int y)
{
	char line[LINE_BYTES];
	const char *order = view.o->ascending ? "up" : "down";

	if (is_narrow())
		snprintf(line, sizeof(line), "by %s %s  h keys  q quit",
			 column_names[view.o->by], order);
	else
		snprintf(line, sizeof(line),
			 "by %s %s, every %.3g s   <> column  r reverse  h keys  q quit",
			 column_names[view.o->by], order, view.o->delay);
	put_line(y, A_DIM, line);
}

static void draw(void)
{
	int height = history_height(), y = 2 + height;
	int foot = LINES >= 7 ? 1 : 0;
	int rank = highest_rank();
	size_t room, i;

	view.nr = list_sort(&view.list, view.o->by, view.o->ascending);
	room = LINES - foot > y + 1 ? (size_t)(LINES - foot - y - 1) : 0;
	if (view.first + room > view.nr)
		view.first = view.nr > room ? view.nr - room : 0;
	erase();
	put_head();
	if (height)
		put_history(2, height);
	if (y < LINES)
		put_row(y, NULL, rank);
	for (i = 0; i < room && view.first + i < view.nr; i++)
		put_row(y + 1 + (int)i, &view.list.rows[view.first + i], rank);
	if (!view.nr && room)
		put_line(y + 1, A_NORMAL, view.list.unread ?
			 "No process of yours has registered memory for merging." :
			 "No process has registered memory for merging.");
	if (foot)
		put_foot(LINES - 1);
	refresh();
}

static void show_keys(void)
{
	static const char *const text[] = {
		"q          quit",
		"< >        column to sort by; or:",
		"p c g      pid, command, cgroup",
		"a m z      mergeable, merged, zero",
		"d f        metadata, profit",
		"r          reverse the order",
		"arrows, page up, page down,",
		"home, end  scroll",
		"+ -        slower, faster",
		"space      update now",
		"Any key goes back to the list.",
	};
	int i;

	erase();
	for (i = 0; i < (int)(sizeof(text) / sizeof(text[0])) && i < LINES; i++)
		put_line(i, A_NORMAL, text[i]);
	refresh();
	timeout(-1);
	getch();
}

static void sort_by(enum column column)
{
	view.o->by = column;
	view.o->ascending = column == BY_PID || column == BY_COMMAND || column == BY_CGROUP;
	view.first = 0;
}

static void next_column(int step)
{
	int i;

	for (i = 0; shown_columns[i].column != view.o->by; i++)
		;
	sort_by(shown_columns[(i + step + NR_SHOWN) % NR_SHOWN].column);
}

static void scroll_by(long step)
{
	if (step < 0 && view.first < (size_t)-step)
		view.first = 0;
	else
		view.first += (size_t)step;
	/* draw() limits how far this scrolls. */
}

static bool sort_key(int key)
{
	int i;

	for (i = 0; i < NR_SHOWN; i++) {
		if (shown_columns[i].key != key)
			continue;
		sort_by(shown_columns[i].column);
		return true;
	}
	return false;
}

/* Returns false to quit */
static bool obey(int key, bool *now_please)
{
	long page = LINES > 8 ? LINES - 7 : 1;

	switch (key) {
	case 'q':
	case 'Q':
	case 3:
		return false;
	case '<':
	case KEY_LEFT:
		next_column(-1);
		break;
	case '>':
	case KEY_RIGHT:
		next_column(1);
		break;
	case 'r':
	case 'R':
		view.o->ascending = !view.o->ascending;
		break;
	case KEY_UP:
	case KEY_DOWN:
		scroll_by(key == KEY_UP ? -1 : 1);
		break;
	case KEY_PPAGE:
	case KEY_NPAGE:
		scroll_by(key == KEY_PPAGE ? -page : page);
		break;
	case KEY_HOME:
	case KEY_END:
		view.first = key == KEY_HOME ? 0 : view.nr;
		break;
	case '+':
		view.o->delay = view.o->delay < 60 ? view.o->delay * 2 : view.o->delay;
		break;
	case '-':
		view.o->delay = view.o->delay > 0.2 ? view.o->delay / 2 : view.o->delay;
		break;
	case ' ':
		*now_please = true;
		break;
	case 'h':
	case '?':
		show_keys();
		break;
	default:
		sort_key(key);
	}
	return true;
}

static void start_colours(void)
{
	view.o->colour = view.o->colour && has_colors();
	if (!view.o->colour)
		return;
	start_color();
	use_default_colors();
	init_pair(GRAPH, COLOR_GREEN, -1);
	init_pair(LOSS, COLOR_RED, -1);
}

/* Returns when the user quits. */
int screen_run(struct top_options *o)
{
	double next = 0, left;
	bool now_please;
	int key;

	view.o = o;
	view.utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
	if (!newterm(NULL, stdout, stdin))
		fail(EXIT_FAILED, "top: cannot use a terminal of type '%s': try --batch",
		     getenv("TERM"));
	view.on_screen = true;
	atexit(leave);
	start_colours();
	cbreak();
	noecho();
	curs_set(0);
	keypad(stdscr, TRUE);
	do {
		left = next - now();
		if (left <= 0) {
			update();
			next = now() + o->delay;
			left = o->delay;
		}
		draw();
		timeout((int)(left * 1000) + 1);
		key = getch();
		now_please = false;
		if (key != ERR && !obey(key, &now_please))
			break;
		if (now_please)
			next = 0;
		else if (next > now() + o->delay)
			next = now() + o->delay;
	} while (true);
	leave();
	free(view.list.rows);
	view.list.rows = NULL;
	return 0;
}
