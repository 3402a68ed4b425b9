# SPDX-License-Identifier: GPL-2.0
"""Faults that tools/layers and tools/lengths have to find; for tools/test/runner_test."""

import subprocess

TABLE = '''
=============  ======
``top.c``      begins
``mid*.c``     two of one rank
``low.c``      ends
=============  ======

``low.c``, which is no row.
'''

DOWN = {
    'top.c': 'void mid(void); void low(void); void top(void) { mid(); low(); }\n',
    'mid.c': 'void low(void); void mid(void) { low(); }\n',
    'low.c': 'int data; void low(void) { }\n',
}
UPWARD = {**DOWN, 'low.c': 'void top(void); void low(void) { top(); }\n'}
ADDRESS = {**DOWN, 'low.c': 'void top(void); void (*low_to)(void) = top; void low(void) { }\n'}
DATA = {**DOWN, 'top.c': 'int set; void mid(void); void top(void) { mid(); }\n',
        'low.c': 'extern int set; void low(void) { set = 1; }\n'}
SAME_RANK = {**DOWN, 'mid.c': 'void mid2(void); void low(void); void mid(void) { low(); mid2(); }\n',
             'mid2.c': 'void mid2(void) { }\n'}
CIRCLE = {**SAME_RANK, 'mid2.c': 'void mid(void); void mid2(void) { mid(); }\n'}
WIDE = {'a.c': 'void b(void); void a(void) { b(); }\n', 'b.c': 'void c(void); void b(void) { c(); }\n',
        'c.c': 'void a(void); void c(void) { a(); }\n', 'd.c': 'void a(void); void d(void) { a(); }\n'}

CIRCULAR = ['mid.c -> mid2.c: mid2 (in a circle)', 'mid2.c -> mid.c: mid (in a circle)']

# Name, files, has a table, accepted, findings
LAYERS = [
    ('calls that run down', DOWN, True, [], []),
    ('a call upwards', UPWARD, True, [], ['low.c -> top.c: top']),
    ('a function that is pointed to from below', ADDRESS, True, [], ['low.c -> top.c: top']),
    ('data from above', DATA, True, [], []),
    ('a call within a rank', SAME_RANK, True, [], []),
    ('a circle within a rank', CIRCLE, True, [], CIRCULAR),
    ('a circle of three, without a table', WIDE, False, [],
     ['a.c -> b.c: b (in a circle)', 'b.c -> c.c: c (in a circle)', 'c.c -> a.c: a (in a circle)']),
    ('a file that the table does not have', {**DOWN, 'new.c': 'void new(void) { }\n'}, True, [],
     ['new.c: not in the table']),
    ('a file that is not built', {**DOWN, 'mid3.c': ''}, True, [], ['mid3.c: has no object']),
    ('a call upwards that is accepted', UPWARD, True, ['low.c -> top.c: top'], []),
    ('another call upwards than the accepted one',
     {**UPWARD, 'mid.c': 'void top(void); void mid(void) { top(); }\n'}, True,
     ['low.c -> top.c: top'], ['mid.c -> top.c: top']),
    ('a circle that is accepted where it opens', CIRCLE, True, CIRCULAR[1:], []),
    ('an accepted call that is not there', DOWN, True, ['low.c -> top.c: top'],
     ['low.c -> top.c: top: accepted, but it is not there']),
    ('an accepted call that runs down', DOWN, True, ['top.c -> low.c: low'],
     ['top.c -> low.c: low: accepted, but it is not there']),
    ('an accepted call in no circle', SAME_RANK, True, CIRCULAR[:1],
     ['mid.c -> mid2.c: mid2: accepted, but it is not there']),
]


def function(length, head='static int f(int a)'):
    """Has so many lines, from its name to its end."""
    return f'{head}\n{{\n' + '\treturn a;\n' * (length - 3) + '}\n'


# Name, the file's text, accepted, findings
LENGTHS = [
    ('a function of 60 lines', function(60), [], []),
    ('a function of 61 lines', function(61), [], ['FILE:1: f has 61 lines']),
    ('two short functions', function(40) + '\n' + function(40), [], []),
    ('a long one behind a structure', 'struct s {\n\tint a;\n};\n\n' + function(70), [],
     ['FILE:5: f has 70 lines']),
    ('a long test', function(70, 'TEST_F(ksm, name)'), [], ['FILE:1: TEST_F(ksm,name) has 70 lines']),
    ('arguments in two lines', function(70, 'static int f(int a,\n\t     int b)'), [],
     ['FILE:1: f has 71 lines']),
    ('a label in it', function(70).replace('return a;', 'goto out;\nout:', 1), [],
     ['FILE:1: f has 71 lines']),
    ('a long table', 'int a[] = {\n' + '\t1,\n' * 70 + '};\n', [], []),
    ('a file of 600 lines', '\n' * 600, [], []),
    ('a file of 601 lines', '\n' * 601, [], ['FILE: 601 lines']),
    ('a long function that is accepted', function(61), ['FILE f'], []),
    ('a long file that is accepted', '\n' * 601, ['FILE'], []),
    ('a long function in a file that is accepted', function(601), ['FILE'],
     ['FILE:1: f has 601 lines']),
    ('an accepted function that is short', function(60), ['FILE f'],
     ['FILE f: accepted, but not too long']),
    ('an accepted file that is short', function(60), ['FILE'],
     ['FILE: accepted, but not too long']),
]


def same(said, wanted):
    """Each line that was said begins as the one that is wanted."""
    return len(said) == len(wanted) and all(map(str.startswith, said, wanted))


def layers(box, files, table, accepted):
    """What tools/layers says of made-up files, with their names alone."""
    source = box.make('calls', {**files, 'table': TABLE,
                                'accepted': ''.join(f'{box.directory}/calls/{line}\n' for line in accepted)})
    subprocess.run(['gcc', '-w', '-c', *filter(files.get, files)], cwd=source, check=True)
    status, said = box.run('tools/layers', *(['--table', f'{source}/table'] if table else []),
                           '--accepted', f'{source}/accepted', source, source)
    return status, [line.removeprefix(source + '/') for line in said.splitlines()]


def lengths(box, text, accepted):
    """What tools/lengths says of a made-up file, by the name of FILE."""
    source = box.make('long', {'x.c': text})
    path = f'{source}/x.c'
    with open(f'{source}/accepted', 'w', encoding='utf-8') as file:
        file.writelines(line.replace('FILE', path) + '\n' for line in accepted)
    status, said = box.run('tools/lengths', '--accepted', f'{source}/accepted', path)
    return status, said.replace(path, 'FILE').splitlines()


def test_checks(tap, box):
    """A case each"""
    for name, files, table, accepted, wanted in LAYERS:
        status, said = layers(box, files, table, accepted)
        tap.result(f'tools/layers: {name}', not status and same(said, wanted),
                   f'wanted {wanted}\ngot    {said}, status {status}')
    for name, text, accepted, wanted in LENGTHS:
        status, said = lengths(box, text, accepted)
        tap.result(f'tools/lengths: {name}', not status and same(said, wanted),
                   f'wanted {wanted}\ngot    {said}, status {status}')
