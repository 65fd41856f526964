#!/usr/bin/env python
"""Mails an alert: ALERT_COMMAND="python samples/alert_mail.py --to ops@example.com"

Reads the alert's JSON from stdin. Needs only Python itself, and a mail server that takes mail from this machine.
"""

from __future__ import annotations

import argparse
import getpass
import json
import smtplib
import socket
import sys
from email.message import EmailMessage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", action="append", required=True, help="who gets it (repeatable)")
    parser.add_argument("--sender", default=f"{getpass.getuser()}@{socket.getfqdn()}", help="who sends it")
    parser.add_argument("--server", default="localhost:25", help="HOST:PORT of the mail server")
    asked = parser.parse_args()
    alert = json.load(sys.stdin)
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = alert["subject"], asked.sender, ", ".join(asked.to)
    mail.set_content(alert["text"])
    host, _, port = asked.server.rpartition(":")
    with smtplib.SMTP(host, int(port), timeout=30) as server:
        server.send_message(mail)


if __name__ == "__main__":
    main()
