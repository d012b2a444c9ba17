"""What TestRecipes runs the recipe for SQLAlchemy with. RECIPE is replaced by
the code of docs/recipes.md."""

import json
import os
from contextvars import ContextVar

from sqlalchemy import Column, Integer, Text, create_engine, event, text
from sqlalchemy.orm import Session, declarative_base

RECIPE

# One connection for all: whatever stays on it shows.
engine = create_engine(os.environ["DATABASE_URL"].replace("postgres://", "postgresql://", 1), pool_size=1, max_overflow=0)


class Order(declarative_base()):
    __tablename__ = "orders"
    id = Column(Integer, primary_key=True)
    item = Column(Text)
    total = Column(Integer, default=0)


def change(total):
    with Session(engine) as session:
        session.query(Order).filter_by(item=os.environ["ITEM"]).one().total = total
        session.commit()


audit_context.set({"actor_id": "u-17", "route": "/orders"})
with Session(engine) as session:
    session.add(Order(item=os.environ["ITEM"]))
    session.commit()
audit_context.set({"actor_id": "u-42", "route": "/orders/{id}"})
change(1)
audit_context.set(None)  # nobody
change(2)
