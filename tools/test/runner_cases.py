# SPDX-License-Identifier: GPL-2.0
"""What parts print, well and badly, and what tools/test/report has to make of it.
Each case is (name, options of report(), what has to have failed, what has to have
passed or been skipped, or None if that does not matter)."""

NONCE = 'c0ffee0123456789'

LISTS = {
    'skips': '''# A comment
ksm | kvm_test | ksm.guest_* | no KVM | this machine has none
ksm 1-node | a_test | a.two_nodes | needs two nodes | it has one
* | old_test | old one | not today | for once
* | whole_test | all of it | must be root | it is not
ksm | cow | Pin ... with huge page [[]2048 kB) | not available | there is none
''',
    'known-faults': '''base | a_test | a.known* | it loses count
base | b_test | * | all of the above
''',
    'base-results': '''# A comment
pass 2-node old_test: old one
fail 2-node old_test: old two
varies 2-node old_test: old three
skip 2-node old_test: old four
''',
}
LISTS['skips'] = LISTS['skips'].replace('[[]', '(')

SUITES = {
    'one_kunit.c': '''static struct kunit_suite one_suite = {
	.name = "ksm_one",
	.test_cases = one_cases,
};
kunit_test_suite(one_suite);
''',
    'two_kunit.c': '''static struct kunit_suite two_suite = {
	.name = "ksm_two",
};

static struct kunit_suite three_suite = {
	.init = fixture, .name = "ksm_three",
};
kunit_test_suites(&two_suite, &three_suite);
''',
}


def part(name, *lines, status=0, nonce=NONCE):
    return [f'@begin {name} {nonce}', *lines, '', f'@end {name} {status} {nonce}']


def vm(status=0):
    return ['', f'@vm {status} {NONCE}']


def tap(*results, plan=None):
    """"name" passes, "!name" fails; "# SKIP why" may follow."""
    lines = ['TAP version 13', f'1..{len(results) if plan is None else plan}']
    for number, text in enumerate(results, 1):
        ok = 'ok'
        if text.startswith('!'):
            ok, text = 'not ok', text[1:]
        lines.append(f'{ok} {number} {text}')
    return lines


def suite(name, *cases, plan=None, verdict='ok', end=True):
    lines = ['KTAP version 1', '1..1', '    KTAP version 1', f'    # Subtest: {name}',
             f'    1..{len(cases) if plan is None else plan}']
    for number, case in enumerate(cases, 1):
        ok = 'ok'
        if case.startswith('!'):
            ok, case = 'not ok', case[1:]
        lines.append(f'    {ok} {number} {case}')
    return lines + ([f'{verdict} 1 {name}'] if end else [])


ONE, TWO, THREE = suite('ksm_one', 'a', 'b'), suite('ksm_two', 'c'), suite('ksm_three', 'd')


def kunit(*suites, **more):
    return {'parts': ['kunit'], 'label': 'debug',
            'stream': part('kunit', *sum(suites, []), **more) + vm()}


def one(*lines, label='ksm', name='a_test', status=0, ended=0):
    return {'parts': [name], 'label': label,
            'stream': part(name, *lines, status=status) + vm(ended)}


def several(names, *streams):
    return {'parts': names, 'stream': sum(streams, [])}


GOOD = [
    ('a part whose tests pass', one(*tap('a.x', 'a.y')), ['a.x', 'a.y'], []),
    ('two parts', several(['a_test', 'b_test'], part('a_test', *tap('x')), part('b_test', *tap('y')),
                          vm()), ['x', 'y'], []),
    ('an allowed skip', one(*tap('ksm.guest_a # SKIP no KVM', 'ksm.other'), name='kvm_test'),
     ['ksm.other'], ['ksm.guest_a']),
    ('an allowed skip of a machine', one(*tap('a.two_nodes # SKIP needs two nodes'), label='ksm 1-node',
                                         status=4), [], ['a.two_nodes']),
    ('an allowed skip of a whole program', one('1..0 # SKIP must be root', name='whole_test', status=4),
     [], ['all of it']),
    ('a skip of one of the base\'s, with brackets',
     one('1..1', '# [RUN] Pin ... with huge page (2048 kB)', 'ok 1 # SKIP not available', name='cow'),
     [], ['Pin ... with huge page (2048 kB)']),
    ('a known fault', one(*tap('!a.known_one', 'a.y'), label='base', status=1), ['a.y'], ['a.known_one']),
    ('a known fault on a machine of the kernel', one(*tap('!a.known_one'), label='base 1-node', status=1),
     [], ['a.known_one']),
    ('what fails on the base',
     one(*tap('old one', '!old two', '!old three', 'old four'), label='ksm 2-node', name='old_test', status=1),
     ['old one', 'old four'], ['old two', 'old three']),
    ('what fails on the base, in a program that says so at its end',
     one(*tap('old one', '!old two', 'old three', 'old four'), 'Bail out! 1 out of 4 tests failed',
         label='ksm 2-node', name='old_test', status=1),
     ['old one', 'old three', 'old four'], ['old two']),
    ('complete suites of KUnit', kunit(ONE, TWO, THREE),
     ['ksm_one.a', 'ksm_one.b', 'ksm_two.c', 'ksm_three.d'], []),
    ('messages of the kernel and remarks between the lines',
     one('kernel: a message', '# a remark', 'not okay', *tap('x')), ['x'], []),
]

BAD = [
    # The results themselves
    ('a test that fails', one(*tap('x', '!y'), status=1), ['a_test: y']),
    ('a test that fails in a program that ends with 0', one(*tap('!y')), ['a_test: y']),
    ('no test reported', one('nothing to say'),
     ['a_test: tells not how many tests it has', 'a_test: no test reported']),
    ('no test planned', one('1..0'), ['a_test: no test reported']),
    ('no plan', one('ok 1 x'), ['a_test: tells not how many tests it has']),
    ('a plan not fulfilled', one(*tap('x', plan=3)), ['a_test: only 1 of 3 tests reported']),
    ('more than the plan', one(*tap('x', 'y', plan=1)), ['a_test: 2 of 1 tests reported']),
    ('two plans', one('1..1', 'ok 1 x', '1..1'), ['a_test: plans twice']),
    ('a number twice', one('1..2', 'ok 1 x', 'ok 1 y'),
     ['a_test: result number 1 is the 2th', 'a_test: only 1 of 2 tests reported']),
    ('a number left out', one('1..3', 'ok 1 x', 'ok 3 z'), ['a_test: result number 3 is the 2th']),
    ('a result without a number', one('1..1', 'ok - x'),
     ['a_test: a result that cannot be understood', 'a_test: only 0 of 1 tests reported',
      'a_test: no test reported']),
    ('a program that says how many have failed', one(*tap('!x', 'y'), 'Bail out! 1 out of 2 tests failed', status=1),
     ['a_test: x']),
    ('a program that says that more have failed', one(*tap('!x', 'y'), 'Bail out! 2 out of 2 tests failed', status=1),
     ['a_test: x', 'a_test: gave up']),
    ('a program that says that there were more', one(*tap('!x', 'y'), 'Bail out! 1 out of 3 tests failed', status=1),
     ['a_test: x', 'a_test: gave up']),
    ('a program that gives up', one('1..1', 'ok 1 x', 'Bail out! no memory'), ['a_test: gave up']),
    ('a status that nothing explains', one(*tap('x'), status=1), ['a_test: ended with status 1']),
    ('a crash after the last result', one(*tap('x'), status=139), ['a_test: ended with status 139']),
    ('a crash beside a failure', one(*tap('!x'), status=139),
     ['a_test: x', 'a_test: ended with status 139']),
    ('garbage', one('\x00\x01\ufffd', '1..', 'okay', 'ok', '@', '@begin'),
     ['a_test: a result that cannot be understood', 'a_test: tells not how many tests it has',
      'a_test: no test reported']),
    # Skips
    ('an unlisted skip', one(*tap('x', 'y # SKIP I would rather not')), ['a_test: y']),
    ('a listed skip for another reason', one(*tap('ksm.guest_a # SKIP no memory'), name='kvm_test'),
     ['kvm_test: ksm.guest_a']),
    ('a skip that is listed for another kernel', one(*tap('ksm.guest_a # SKIP no KVM'), name='kvm_test',
                                                     label='debug'), ['kvm_test: ksm.guest_a']),
    ('a skip that is listed for another machine', one(*tap('a.two_nodes # SKIP needs two nodes')),
     ['a_test: a.two_nodes']),
    ('a skip that is listed for another part', one(*tap('ksm.guest_a # SKIP no KVM')),
     ['a_test: ksm.guest_a']),
    ('all of a part skipped', one(*tap('x # SKIP no KVM', 'y # SKIP no KVM'), name='kvm_test', status=4),
     ['kvm_test: x', 'kvm_test: y']),
    ('a program that is skipped as a whole', one('1..0 # SKIP must be root', status=4),
     ['a_test: all of it']),
    ('a status of skipping, with not all skipped',
     one(*tap('ksm.guest_a # SKIP no KVM', 'y'), name='kvm_test', status=4),
     ['kvm_test: ended with status 4']),
    ('a failure that calls itself skipped', one(*tap('!ksm.guest_a # SKIP no KVM'), name='kvm_test'),
     ['kvm_test: ksm.guest_a']),
    ('an expected failure that is not listed', one(*tap('x # XFAIL it is so')), ['a_test: x']),
    ('a skip of what passes on the base',
     one(*tap('old one # SKIP not today', 'old two', 'old three', 'old four'), label='ksm 2-node', name='old_test'),
     ['old_test: old one']),
    # What may fail
    ('a known fault on another kernel', one(*tap('!a.known_one'), status=1), ['a_test: a.known_one']),
    ('an unknown one beside a known fault', one(*tap('!a.known_one', '!a.z'), label='base', status=1),
     ['a_test: a.z']),
    ('a crash of a program whose faults are all known', one(*tap('!x'), label='base', name='b_test', status=139),
     ['b_test: ended with status 139']),
    ('a program of known faults that ends early',
     one(*tap('!x', plan=2), label='base', name='b_test', status=1),
     ['b_test: only 1 of 2 tests reported']),
    ('a program of known faults that says nothing', one('1..1', label='base', name='b_test', status=1),
     ['b_test: only 0 of 1 tests reported', 'b_test: no test reported']),
    ('an excused failure beside a real one',
     one(*tap('!old one', '!old two', 'old three', 'old four'), label='ksm 2-node', name='old_test', status=1),
     ['old_test: old one']),
    ('a failure of what is skipped on the base',
     one(*tap('old one', 'old two', 'old three', '!old four'), label='ksm 2-node', name='old_test', status=1),
     ['old_test: old four']),
    ('an excused failure with a crash',
     one(*tap('old one', '!old two', 'old three', 'old four'), label='ksm 2-node', name='old_test', status=139),
     ['old_test: ended with status 139']),
    ('an excused failure with a strange status',
     one(*tap('old one', '!old two', 'old three', 'old four'), label='ksm 2-node', name='old_test', status=2),
     ['old_test: ended with status 2']),
    ('an excused failure, and a test that is missing',
     one(*tap('!old two', 'old three', 'old four', plan=3), label='ksm 2-node', name='old_test', status=1),
     ['old_test: old one']),
    ('what may fail is missing',
     one(*tap('old one', plan=1), label='ksm 2-node', name='old_test'),
     ['old_test: old two', 'old_test: old three', 'old_test: old four']),
    ('an excuse of another machine',
     one(*tap('old one', '!old two', 'old three', 'old four'), label='ksm 1-node', name='old_test', status=1),
     ['old_test: old two']),
    # Parts
    ('a part that is cut short', several(['a_test'], part('a_test', *tap('x'))[:-2], vm(126)),
     ['a_test: cut short by the end of the VM']),
    ('a part that is cut short where the VM ended with 0', several(['a_test'], part('a_test', *tap('x'))[:-2], vm()),
     ['a_test: cut short by the end of the VM']),
    ('a part that never ran', several(['a_test', 'b_test'], part('a_test', *tap('x')), vm()),
     ['b_test: never ran']),
    ('a part that never ran, where nobody tells of a VM', several(['a_test', 'b_test'], part('a_test', *tap('x'))),
     ['b_test: never ran']),
    ('a VM that ended with 0 before any part', several(['a_test', 'b_test'], vm()),
     ['a_test: never ran', 'b_test: never ran']),
    ('a part in the middle of another',
     several(['a_test', 'b_test'], ['@begin a_test ' + NONCE], part('b_test', *tap('x')), vm()),
     ['a_test: another part began in the middle of it']),
    ('a part that runs twice', several(['a_test'], part('a_test', *tap('x')), part('a_test', *tap('x')), vm()),
     ['a_test: began, but was not to run']),
    ('a part that nobody asked for', several(['a_test'], part('a_test', *tap('x')), part('b_test', *tap('y')), vm()),
     ['b_test: began, but was not to run']),
    ('a result of no part', several(['a_test'], ['ok 1 x'], part('a_test', *tap('x')), vm()),
     ['a result of no part']),
    ('a part of an earlier run', several(['a_test'], part('a_test', *tap('x'), nonce='beef'), vm()),
     ['a line that does not belong here', 'a result of no part', 'a line that does not belong here',
      'a_test: never ran']),
    ('a program that pretends to end well',
     several(['a_test'], [f'@begin a_test {NONCE}', '1..2', 'ok 1 x', '@end a_test 0',
                          '', f'@end a_test 1 {NONCE}'], vm()),
     ['a_test: a line that does not belong here', 'a_test: only 1 of 2 tests reported']),
    ('the end of another part',
     several(['a_test', 'b_test'], [f'@begin a_test {NONCE}', *tap('x'), f'@end b_test 0 {NONCE}'], vm()),
     ['a_test: a line that does not belong here', 'a_test: cut short by the end of the VM',
      'b_test: never ran']),
    # KUnit
    ('a missing suite', kunit(ONE, TWO), ['kunit: suite ksm_three']),
    ('no suite at all', kunit(), ['kunit: suite ksm_one', 'kunit: suite ksm_two', 'kunit: suite ksm_three']),
    ('a suite that ends early', kunit(suite('ksm_one', 'a', plan=10, verdict='not ok'), TWO, THREE),
     ['kunit: suite ksm_one']),
    ('a suite that ends early and says ok', kunit(suite('ksm_one', 'a', plan=10), TWO, THREE),
     ['kunit: suite ksm_one']),
    ('a truncated suite', kunit(suite('ksm_one', 'a', plan=2, end=False), TWO, THREE),
     ['kunit: suite ksm_one']),
    ('the last suite truncated', kunit(ONE, TWO, suite('ksm_three', 'd', plan=2, end=False)),
     ['kunit: suite ksm_three']),
    ('a suite without its own result', kunit(suite('ksm_one', 'a', 'b', end=False), TWO, THREE),
     ['kunit: suite ksm_one']),
    ('a suite that is not ok', kunit(suite('ksm_one', 'a', 'b', verdict='not ok'), TWO, THREE),
     ['kunit: suite ksm_one']),
    ('a case that fails', kunit(suite('ksm_one', 'a', '!b', verdict='not ok'), TWO, THREE),
     ['kunit: ksm_one.b', 'kunit: suite ksm_one']),
    ('a suite with more cases than planned', kunit(suite('ksm_one', 'a', 'b', plan=1), TWO, THREE),
     ['kunit: suite ksm_one']),
    ('a case whose number is not its own', kunit([line.replace('ok 2 b', 'ok 3 b') for line in ONE], TWO, THREE),
     ['kunit: ksm_one.b', 'kunit: suite ksm_one']),
    ('a suite without cases', kunit(suite('ksm_one'), TWO, THREE), ['kunit: suite ksm_one']),
    ('an unlisted skip of a case', kunit(suite('ksm_one', 'a # SKIP too few bits', 'b'), TWO, THREE),
     ['kunit: ksm_one.a']),
    ('a suite twice', kunit(ONE, TWO, THREE, ONE), ['kunit: suite ksm_one']),
    ('a suite that the sources do not have', kunit(ONE, TWO, THREE, suite('ksm_four', 'e')),
     ['kunit: suite ksm_four']),
    ('a crash after KUnit', kunit(ONE, TWO, THREE, status=139), ['kunit: ended with status 139']),
]
