"""Completion in bash, zsh and fish: their scripts, and the answers that the scripts read.

A script passes the command as typed, up to the cursor. The answer's first line is ``values``,
``files`` or ``directories``; with ``values`` each further line is a value. Typer's own scripts
and answers break at ``@``, ``:`` and apostrophes.

``shell_completion`` and ``_completion_shared`` are private to Typer; ``tests/cli/test_typer.py``
checks what is used of them.
"""

import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import typer
from typer import _completion_shared as shared
from typer._click import shell_completion

from clarinet_cli.exceptions import INVALID

COMPLETION_VARIABLE = "_CLARINET_COMPLETE"
LINE_VARIABLE = "_CLARINET_LINE"
WORD_VARIABLE = "_CLARINET_WORD"
PROGRAMS = ("clarinet", "clarinet-cli")
FILE_METAVARS = ("FILE", "PATH")
DIRECTORY_METAVARS = ("DIR",)

BASH = r"""%(complete_func)s() {
    local command="${1/#\~\//$HOME/}"
    mapfile -t COMPREPLY < <(
        _CLARINET_LINE="${COMP_LINE:0:COMP_POINT}" _CLARINET_WORD="$2" \
            %(autocomplete_var)s=complete_bash "$command" 2>/dev/null
    )
    case "${COMPREPLY[0]}" in
        files) compopt -o default ;;
        directories) compopt -o dirnames ;;
    esac
    COMPREPLY=( "${COMPREPLY[@]:1}" )
}

complete -F %(complete_func)s %(prog_name)s
"""
ZSH = r"""#compdef %(prog_name)s

_%(prog_name)s() {
    local command="${(Q)words[1]}" line text
    local -a answer values descriptions
    line="${(j: :)words[1,CURRENT-1]} ${QIPREFIX}${IPREFIX}${PREFIX}"
    text="$(_CLARINET_LINE="$line" %(autocomplete_var)s=complete_zsh ${~command} 2>/dev/null)"
    answer=("${(@f)text}")
    [[ "$PREFIX" == -*=* ]] && compset -P 1 '*='
    case "$answer[1]" in
        files) _files ;;
        directories) _files -/ ;;
        values)
            for line in "${(@)answer[2,-1]}"; do
                values+=("${line%%%%$'\t'*}")
                descriptions+=("${line/$'\t'/  -- }")
            done
            if [[ "${(@)answer[2,-1]}" == *$'\t'* ]]; then
                compadd -l -d descriptions -a values
            else
                compadd -a values
            fi ;;
    esac
}

if [[ "${funcstack[1]}" == _%(prog_name)s ]]; then  # loaded by compinit, not sourced
    _%(prog_name)s "$@"
else
    compdef _%(prog_name)s %(prog_name)s
fi
"""
FISH = r"""function %(complete_func)s
    set -l command (string replace -r '^~/' "$HOME/" -- (commandline -opc)[1])
    set -l line (commandline -cp | string collect)
    set -l answer (_CLARINET_LINE=$line %(autocomplete_var)s=complete_fish $command 2>/dev/null)
    switch "$answer[1]"
        case files
            __fish_complete_path (commandline -ct)
        case directories
            __fish_complete_directories (commandline -ct) ''
        case values
            string join \n -- $answer[2..-1]
    end
end

complete --command %(prog_name)s --no-files --arguments "(%(complete_func)s)"
"""


class Word(NamedTuple):
    """A word of a command as typed.

    Attributes:
        characters: Its characters without the quoting, each with its index in the line.
        quote: The quote that is still open at its end, or an empty string.
        home: It begins with an unquoted ``~/``.
    """

    characters: list[tuple[int, str]]
    quote: str
    home: bool

    @property
    def text(self) -> str:
        """The word as the command would receive it."""
        text = "".join(character for _, character in self.characters)
        return str(Path.home() / text[2:]) if self.home else text

    def before(self, index: int) -> str:
        """Return the part of the word that the line has before *index*."""
        return "".join(character for at, character in self.characters if at < index)


def split_line(line: str) -> list[Word]:
    """Return the words of an incomplete command; the last is the one at the cursor.

    Quotes and backslashes are those of a POSIX shell; nothing but ``~/`` is expanded.
    """
    words: list[Word] = []
    characters: list[tuple[int, str]] = []
    quote, escaped, started, start = "", False, False, 0
    for index, character in enumerate(line):
        if not started and not character.isspace():
            started, start = True, index
        if escaped:
            if quote and character not in '"\\$`':
                characters.append((index, "\\"))
            characters.append((index, character))
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        elif character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        elif quote or not character.isspace():
            characters.append((index, character))
        elif started:
            words.append(Word(characters, "", line.startswith("~/", start)))
            characters, started = [], False
    last = Word(characters, quote, started and line.startswith("~/", start))
    return [*words, last]


class _Answer(shell_completion.ShellComplete):
    """The answer to a script, the same for all shells except for the form of a value."""

    def source_vars(self) -> dict[str, Any]:
        return _script_variables(self.prog_name)

    def get_completion_args(self) -> tuple[list[str], str]:
        words = [word.text for word in split_line(os.environ.get(LINE_VARIABLE, ""))]
        return words[1:-1], words[-1]

    def complete(self) -> str:
        arguments, incomplete = self.get_completion_args()
        context = shell_completion._resolve_context(  # noqa: SLF001 - see above
            self.cli, self.ctx_args, self.prog_name, arguments
        )
        asked, incomplete = shell_completion._resolve_incomplete(  # noqa: SLF001 - see above
            context, arguments, incomplete
        )
        metavar = getattr(asked, "metavar", None)
        if metavar in FILE_METAVARS:
            return "files"
        if metavar in DIRECTORY_METAVARS:
            return "directories"
        items = asked.shell_complete(context, incomplete)
        return "\n".join(["values", *map(self.format_completion, items)])

    def format_completion(self, item: shell_completion.CompletionItem) -> str:
        return f"{item.value}\t{' '.join(item.help.split())}" if item.help else str(item.value)


class _Bash(_Answer):
    name = "bash"
    source_template = BASH

    def format_completion(self, item: shell_completion.CompletionItem) -> str:
        """Return what replaces the text that readline has taken for the word.

        That text begins at the last of ``COMP_WORDBREAKS`` or after an open quote.
        """
        line = os.environ.get(LINE_VARIABLE, "")
        word = split_line(line)[-1]
        before = word.before(len(line) - len(os.environ.get(WORD_VARIABLE, "")))
        value = str(item.value)
        rest = value[len(_without_option(before)) :]
        if word.quote == "'":
            return rest.replace("'", "'\\''")
        special = '"\\$`' if word.quote else " \t\"'\\$`&|;<>()*?[]#~!{}"
        return "".join(f"\\{each}" if each in special else each for each in rest)


class _Zsh(_Answer):
    name = "zsh"
    source_template = ZSH


class _Fish(_Answer):
    name = "fish"
    source_template = FISH

    def format_completion(self, item: shell_completion.CompletionItem) -> str:
        """Return ``--option=value`` for the value of a joined option, as fish expects."""
        incomplete = self.get_completion_args()[1]
        option = incomplete.removesuffix(_without_option(incomplete))
        return option + super().format_completion(item)


SHELLS: dict[str, type[_Answer]] = {each.name: each for each in (_Bash, _Zsh, _Fish)}


def register_shells() -> None:
    """Register these scripts and answers with Typer."""
    for name, answer in SHELLS.items():
        shell_completion.add_completion_class(answer, name)


def install_completion(ctx: typer.Context, value: bool) -> None:
    """Write the script of the current shell and load it from the shell's start-up file."""
    if value and not ctx.resilient_parsing:
        shell = _current_shell()
        shared._completion_scripts[shell] = SHELLS[shell].source_template  # noqa: SLF001 - see above
        _, path = shared.install(
            shell=shell, prog_name=_program(), complete_var=COMPLETION_VARIABLE
        )
        typer.echo(f"{shell} completion installed in {path}")
        typer.echo("Completion will take effect once you restart the terminal")
        raise typer.Exit


def show_completion(ctx: typer.Context, value: bool) -> None:
    """Print the script of the current shell."""
    if value and not ctx.resilient_parsing:
        script = SHELLS[_current_shell()].source_template
        typer.echo((script % _script_variables(_program())).strip())
        raise typer.Exit


def _script_variables(program: str) -> dict[str, str]:
    return {
        "complete_func": f"_{program.replace('-', '_')}_completion",
        "prog_name": program,
        "autocomplete_var": COMPLETION_VARIABLE,
    }


def _program() -> str:
    """Return the name under which the program runs: both names have a completion of their own."""
    name = Path(sys.argv[0]).name
    return name if name in PROGRAMS else PROGRAMS[0]


def _current_shell() -> str:
    shell = shared._get_shell_name()  # noqa: SLF001 - see above
    if shell not in SHELLS:
        raise INVALID.with_context(
            f"no completion for {shell or 'an unknown shell'}",
            hint=f"supported shells: {', '.join(SHELLS)}",
        )
    return shell


def _without_option(word: str) -> str:
    """Return the value of ``--option=value``, or the word if it has another form."""
    return word.partition("=")[2] if word.startswith("-") and "=" in word else word
