"""The base of our tables: a registry of their own, apart from a host program's tables."""

from sqlalchemy.orm import registry
from sqlmodel import SQLModel


class Base(SQLModel, registry=registry()):
    """Base class of the four tables."""
