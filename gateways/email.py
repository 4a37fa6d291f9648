"""The e-mail channel: SendGrid where it is configured, else an SMTP server."""

from __future__ import annotations

from domain.deliveries import channel
from gateways.mail.sendgrid import SendGridConfig, open_sendgrid
from gateways.mail.smtp import SmtpConfig, open_smtp
from gateways.port import Channel, Gateway, GatewayConfig


class EmailConfig(GatewayConfig, frozen=True, kw_only=True):
    sendgrid: SendGridConfig | None = None
    smtp: SmtpConfig | None = None


def build(config: EmailConfig) -> Gateway:
    if config.sendgrid is not None:
        return open_sendgrid(config.sendgrid)
    if config.smtp is not None:
        return open_smtp(config.smtp)
    raise ValueError("e-mail needs SendGrid's API key or the URL of an SMTP server")


CHANNEL = Channel(channel.EMAIL, EmailConfig, build)
