"""A small mail server on the loopback that answers badly on request."""

import base64
import socketserver
import ssl
import threading
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import NamedTuple


class Mail(NamedTuple):
    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage
    login: str | None
    """User and password, as they came."""
    encrypted: bool


class MailServer(socketserver.ThreadingTCPServer):
    """Keeps every mail; `replies` has other answers by verb, or by verb and argument."""

    daemon_threads = True
    allow_reuse_address = True
    block_on_close = False

    def __init__(self, tls: ssl.SSLContext | None = None, *, implicit: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.tls = tls
        self.implicit = implicit
        self.mails: list[Mail] = []
        self.replies: dict[str, str] = {}
        self.silent_on: str | None = None
        self.closing = threading.Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is what some tests are about."""


class _Session(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        try:
            self._converse()
        finally:
            self.request.close()  # with TLS this is another one than the server knows of

    def _converse(self) -> None:
        self.encrypted, self.login, self.sender, self.recipients = False, None, "", list[str]()
        if self.server.implicit:
            self._encrypt()
        self._say(self.server.replies.get("CONNECT", "220 ready"))
        while line := self.rfile.readline().decode().rstrip("\r\n"):
            verb, _, argument = line.partition(" ")
            verb = verb.upper()
            if verb == self.server.silent_on:
                self.server.closing.wait()
                return
            other = self.server.replies.get(line) or self.server.replies.get(verb)
            if other == "hang up":
                return
            if other is not None:
                self._say(other)
            elif not self._obey(verb, argument):
                return

    def _obey(self, verb: str, argument: str) -> bool:
        match verb:
            case "EHLO":
                offers = ["250-here", "250-AUTH PLAIN LOGIN"]
                if self.server.tls is not None and not self.encrypted:
                    offers.append("250-STARTTLS")
                self._say("\r\n".join([*offers, "250 8BITMIME"]))
            case "STARTTLS":
                self._say("220 go ahead")
                self._encrypt()
            case "AUTH":
                self.login = base64.b64decode(argument.split()[1]).decode().replace("\0", " ").strip()
                self._say("235 welcome")
            case "MAIL":
                self.sender = argument
                self._say("250 ok")
            case "RCPT":
                self.recipients.append(argument)
                self._say("250 ok")
            case "DATA":
                self._say("354 go on")
                self._take()
            case "QUIT":
                self._say("221 bye")
                return False
            case _:
                self._say("250 ok")
        return True

    def _take(self) -> None:
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        message = message_from_bytes(b"".join(lines), policy=policy.SMTP)
        mail = Mail(self.sender, tuple(self.recipients), message, self.login, self.encrypted)  # type: ignore[arg-type]
        self._say(self.server.replies.get("END", "250 taken"))
        if "END" not in self.server.replies:
            self.server.mails.append(mail)

    def _encrypt(self) -> None:
        assert self.server.tls is not None
        self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        self.setup()
        self.encrypted = True

    def _say(self, text: str) -> None:
        self.wfile.write(text.encode() + b"\r\n")
