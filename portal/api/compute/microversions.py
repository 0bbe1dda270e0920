"""Every microversion of the compute API, with what changes at it here.

``served`` is False where nothing changes in what Nacelle serves (the change is Nova's own, or
belongs to a part that is not served yet). `docs/microversions.md` is made of this table; a test
compares it with the versions that the code asks for, both ways.
"""

from __future__ import annotations

from dataclasses import dataclass

from portal.api.compute.base import RANGE


@dataclass(frozen=True)
class Microversion:
    """One step of the API."""

    number: str
    sentence: str
    served: bool = True


def _row(minor: int, sentence: str) -> Microversion:
    """A row; a sentence in brackets tells of a change in what is not served."""
    return Microversion(f"2.{minor}", sentence.strip("()"), not sentence.startswith("("))


# One sentence a version, from 2.1 on. In brackets: nothing changes here.
_SENTENCES = """
The API's first version.
Key pairs have a type; creating one answers 201 and deleting one 204.
Administrators see a server's reservation, launch index, host name, root device and user data.
(Reserved fixed addresses.)
(Filtering networks by their address.)
Consoles are opened at remote-consoles instead of by actions.
Access to a public flavor cannot be added.
Remote consoles take the protocol mks.
Servers say whether they are locked.
Administrators see and change key pairs of other users.
Services can be forced down.
(Quotas no longer count fixed networks.)
Server groups say whose they are.
Evacuating finds out by itself whether storage is shared, and answers with no password.
Server groups take soft policies.
Administrators see the status of a server's host.
Crash dumps.
(The project in the path is optional; here it always was.)
Servers have a description of their own, in place of the name's copy.
(Volumes of shelved servers.)
The actions of deleted servers can be read.
A live migration can be forced to complete.
A server's live migrations under way are shown, and migrations say their kind.
A live migration that runs can be aborted.
Whether a live migration copies disks can be left to it (auto); disk_over_commit is gone.
Servers have tags, and lists are filtered by them.
(Versions by the header that all OpenStack services share; here it always was.)
A hypervisor's CPU is an object instead of a text.
Evacuating checks the host that is asked for, unless forced.
A live migration to a named host can be forced past the filters.
(Console tokens of every kind can be looked up.)
Tags on network cards at creation (of disks, which come with volumes, not).
Lists of hypervisors have pages.
A live migration is answered before a host was looked for.
Lists of key pairs have pages.
The proxies of images, networks and security groups are gone, and their limits with them.
Networks must be named at creation, and may be auto or none.
An unknown status in a list of servers is an error.
The limit of image metadata is gone.
Usage has pages.
Aggregates have a UUID.
Tags on network cards at creation, again.
Hosts by their names are gone.
Actions on fixed and floating addresses are gone.
Creating an image answers with its id.
(Request ids under the name that all services share; here they always were.)
A server shows its flavor as it was, instead of a link to it.
Diagnostics come in one form, the same for every driver.
Tags on attached network cards (on disks not).
(Quota classes lose what the network API has.)
Everybody sees the steps of an action; administrators alone their tracebacks.
Tags at creation.
Hypervisors and services are known by UUID; their searches are gone, and services are changed by their UUID.
Rebuilding changes the key pair.
Flavors have a description, which can be changed.
Cold migration to a named host.
Files cannot be injected; their limits are gone.
Lists of actions have pages and a time of change.
Lists of migrations have pages, and are filtered by changes-since.
(Volumes that several servers use.)
Flavors show their extra specs.
The steps of an action say on which host they ran; the name is for administrators.
Servers show the certificates that their image must be signed with: none here.
Server groups have one policy with rules.
A live migration that has not begun can be aborted, too.
Lists of servers, actions and migrations are filtered by changes-before.
(The type of a boot volume.)
Forcing an evacuation or a live migration is gone.
(Cells that do not answer.)
Network cards show their tag.
A server shown by itself says which groups it is in.
(Ports with guaranteed bandwidth.)
A lock has a reason, and lists are filtered by it.
Administrators name the host at creation without naming the zone.
Unknown query parameters are an error; PUT answers with the whole server; no swap is 0.
(Power events of bare metal.)
Unshelving into a zone.
(The topology of a server.)
(Volumes that are deleted with their server, at attachment.)
Migrations say whose they are, and are filtered by that.
Images cached on the hosts of an aggregate.
(Accelerators.)
Everybody filters servers by zone, key pair, times and states.
Administrators see the details of an action's failed steps.
(Changing whether a volume is deleted with its server.)
Extra specs of known namespaces are checked.
(Rescuing servers that boot from volumes.)
Hypervisors no longer show their load; their statistics and the path of the uptime are gone.
(Volume attachments show the ids of their parts.)
A server's host name can be chosen, and everybody sees it.
Unshelving to a host.
Key pairs are imported only, and their names may hold @ and dots.
(Rebuilding servers that boot from volumes.)
Host names may be fully qualified.
Evacuated servers stay stopped.
Servers show the zone that they are bound to.
(Shares.)
A server's image shows its properties.
Remote consoles take the type spice-direct.
Servers show their scheduler hints.
"""

MICROVERSIONS = tuple(
    _row(number, sentence) for number, sentence in enumerate(_SENTENCES.strip().splitlines(), RANGE.minimum.minor)
)


def microversions_document() -> str:
    """``docs/microversions.md``."""
    lines = [
        "# Microversions of the compute API",
        "",
        "Derived from the table in the code; `manage.py document` writes it. Every version of the range is answered;",
        "where the last column is empty, what Nacelle serves is the same as in the version before.",
        "",
        "| version | Nova's change | changes here |",
        "|---|---|---|",
    ]
    lines += [f"| {row.number} | {row.sentence} | {'yes' if row.served else ''} |" for row in MICROVERSIONS]
    return "\n".join([*lines, ""])
