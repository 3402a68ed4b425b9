# SPDX-License-Identifier: GPL-2.0
"""Judges what KUnit's suites have left in debugfs, with the kernel's own parser
of it, and whether all suites of mm/ksm/tests are there."""

import functools
import glob
import io
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.join(HERE, '../../mm/ksm/tests')


@functools.lru_cache
def parser():
    """tools/testing/kunit/kunit_parser.py of the base"""
    base = subprocess.run([os.path.join(HERE, '../vm/build'), '--source'], check=True,
                          stdout=subprocess.PIPE, text=True).stdout.strip()
    sys.path.append(os.path.join(base, 'tools/testing/kunit'))
    import kunit_parser  # pylint: disable=import-error,import-outside-toplevel
    return kunit_parser


def expected_suites():
    """The names of the suites that the sources define. A file without any, or
    with one that nothing registers or shows, is an error, not a suite less."""
    suites = []
    files = glob.glob(os.path.join(TESTS, '*_kunit.c'))
    if not files:
        raise ValueError(f'no *_kunit.c in {TESTS}')
    for path in sorted(files):
        with open(path, encoding='utf-8') as file:
            text = file.read()
        name = os.path.basename(path)
        registered = ' '.join(re.findall(r'^kunit_test_suites?\(([^)]*)\)', text, re.M))
        found = re.findall(r'struct kunit_suite (\w+) = \{(.*?)^\};', text, re.M | re.S)
        if not found:
            raise ValueError(f'{name}: no kunit_suite is found in it')
        for variable, body in found:
            title = re.search(r'\.name\s*=\s*"([^"]+)"', body)
            if not title or not re.search(rf'\b{variable}\b', registered):
                raise ValueError(f'{name}: {variable} has no name, or is not registered')
            if not title[1].startswith('ksm'):
                raise ValueError(f'{name}: the name of {variable} does not begin with ksm')
            suites.append(title[1])
    return suites


def documents(lines):
    """debugfs has a document for each suite; they came one after the other."""
    found = []
    for line in lines:
        if re.match(r'KTAP version ', line):
            found.append([])
        if found:
            found[-1].append(line)
    return found


def reason(lines, case):
    """Why the case was skipped; the parser does not keep it."""
    for line in lines:
        found = re.match(rf'\s*ok \d+ -? ?{re.escape(case)} # SKIP ?(.*)$', line)
        if found:
            return found[1]
    return ''


def all_ok(test):
    return test.ok_status() and not test.counts.errors and all(map(all_ok, test.subtests))


def judge_suite(parse, lines):
    """Yields (verdict, name, why) for a document: each case, and the suite where
    that has failed. What the parser says of errors is the last one's why."""
    said = io.StringIO()
    if hasattr(parse, 'Printer'):
        main = parse.parse_run_tests(lines, parse.Printer(output=said))
    else:  # Linux 6.12
        parse.stdout = type(parse.stdout)(said)
        main = parse.parse_run_tests(lines)
    complaints = [re.sub(r'^\[[0-9:]*\] ', '', line) for line in said.getvalue().splitlines()
                  if '[ERROR]' in line or '[CRASHED]' in line]
    for suite in main.subtests:
        for case in suite.subtests:
            name = f'{suite.name}.{case.name}'
            if case.status == parse.TestStatus.SKIPPED:
                yield 'skip', name, reason(lines, case.name)
            elif case.name:
                yield 'pass' if all_ok(case) else 'fail', name, ''
    if len(main.subtests) != 1 or not all_ok(main) or main.counts.total() == 0:
        name = main.subtests[0].name if main.subtests else ''
        yield 'fail', f'suite {name or "without a name"}', '\n'.join(complaints) or 'not ok'


def judge(lines):
    """Yields (verdict, name, why) for all of it."""
    try:
        parse, expected = parser(), expected_suites()
    except (ValueError, OSError, ImportError, subprocess.CalledProcessError) as error:
        yield 'fail', 'what the suites have to be judged by', str(error)
        return
    seen = []
    for document in documents(lines):
        names = set()
        for verdict, name, why in judge_suite(parse, document):
            names.add(re.sub(r'^suite ', '', name).split('.')[0])
            yield verdict, name, why
        seen += sorted(names)
    for suite in expected:
        if seen.count(suite) != 1:
            yield 'fail', f'suite {suite}', f'it reported {seen.count(suite)} times: is it in the kernel that ran?'
    for suite in sorted(set(seen) - set(expected)):
        yield 'fail', f'suite {suite}', 'mm/ksm/tests has no suite of this name'
