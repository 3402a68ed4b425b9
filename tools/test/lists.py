# SPDX-License-Identifier: GPL-2.0
"""The lists that say what a test run must do and what it may leave undone:
skips, known-faults, base-results and base-results-7.3, beside this file (or in the directory
$KSM_TEST_LISTS). CONTRIBUTING.md describes them."""

import fnmatch
import os
import re

DIRECTORY = os.environ.get('KSM_TEST_LISTS') or os.path.dirname(os.path.abspath(__file__))


class Broken(Exception):
    """A list that cannot be understood: nothing can be judged by it."""


def matches(text, pattern):
    """A pattern of the shell, in which brackets stand for themselves: names of
    tests have them."""
    return fnmatch.fnmatchcase(text, pattern.replace('[', '[[]'))


class Entry:
    """What may be otherwise: in which runs, of which part, which tests, why."""

    def __init__(self, place, label, part, test, says, reason):
        self.place, self.label, self.part = place, label, part
        self.test, self.says, self.reason = test, says, reason

    def of(self, label, part):
        """A label is a kernel, perhaps with a machine: "ksm 1-node". An entry
        names either the kernel or all of it."""
        return part == self.part and (matches(label, self.label) or
                                      matches(label.split()[0], self.label))

    def covers(self, label, part, test, says):
        return (self.of(label, part) and matches(test, self.test) and
                (self.says is None or matches(says, self.says)))

    def is_certain(self):
        """Must it match something whenever its part runs?"""
        return not self.reason.startswith('sometimes')


def _lines(name):
    path = os.path.join(DIRECTORY, name)
    try:
        with open(path, encoding='utf-8') as file:
            for number, line in enumerate(file, 1):
                line = line.rstrip('\n')
                if line.strip() and not line.startswith('#'):
                    yield f'tools/test/{name}:{number}', line
    except OSError as error:
        raise Broken(f'{path}: {error.strerror}') from error


def _entries(name, columns):
    found = []
    for place, line in _lines(name):
        fields = [field.strip() for field in line.split(' | ')]
        if len(fields) != columns or not all(fields):
            raise Broken(f'{place}: wants {columns} columns with " | " between them')
        if columns == 4:
            fields.insert(3, None)
        found.append(Entry(place, *fields))
    return found


def skips():
    """LABEL | PART | TEST | WHAT IT SAYS | REASON"""
    return _entries('skips', 5)


def known_faults():
    """LABEL | PART | TEST | REASON"""
    return _entries('known-faults', 4)


def base_results(label=''):
    """{(machine, part): {test: result}} of what the base of this run's kernel comes up to"""
    results = {}
    kernel = label.split()[0] if label else ''
    for place, line in _lines('base-results' + ('-7.3' if kernel.endswith('-7.3') else '')):
        found = re.match(r'(pass|fail|skip|varies) (\S+) ([^:]+): (.+)$', line)
        if not found:
            raise Broken(f'{place}: wants "RESULT MACHINE PART: TEST"')
        result, machine, part, test = found.groups()
        results.setdefault((machine, part), {})[test] = result
    return results
