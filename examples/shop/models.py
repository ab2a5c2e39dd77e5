"""The tables of the orders service, and what is in stock when the shop opens."""

from sqlalchemy import ForeignKey, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, sessionmaker

OPENING_STOCK = [  # name, price in cents, weight in grams, pieces
    ("Coffee beans", 1490, 1000, 500),
    ("Espresso cup", 890, 220, 400),
    ("Kettle", 4990, 1300, 120),
    ("Hand grinder", 7900, 640, 60),
    ("Paper filters", 390, 150, 900),
    ("Scale", 3490, 410, 80),
    ("Limited print", 2500, 90, 12),
    ("Gift card", 5000, None, 1000),  # sent by mail: nothing to weigh
]


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "products"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    price_cents: Mapped[int]
    weight_g: Mapped[int | None]
    stock: Mapped[int]
    reviews: Mapped[list["Review"]] = relationship()


class Review(Base):
    __tablename__ = "reviews"
    id: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"), index=True)
    stars: Mapped[int]


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str]
    status: Mapped[str] = mapped_column(default="new")
    parcel: Mapped[str | None]
    lines: Mapped[list["OrderLine"]] = relationship()


class OrderLine(Base):
    __tablename__ = "order_lines"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), index=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"))
    quantity: Mapped[int]
    product: Mapped[Product] = relationship()


def open_database(url: str) -> sessionmaker[Session]:
    """Connect to *url*, make the tables where they are missing, and fill the shelves."""
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    sessions = sessionmaker(engine)
    with sessions.begin() as session:
        products = session.scalars(select(Product).order_by(Product.id)).all()
        if not products:
            session.add_all(stocked_product(n, *row) for n, row in enumerate(OPENING_STOCK))
        for product, row in zip(products, OPENING_STOCK, strict=False):
            product.stock = row[3]
    return sessions


def stocked_product(n: int, name: str, price_cents: int, weight_g: int | None, stock: int) -> Product:
    reviews = [Review(stars=1 + (n * 3 + i) % 5) for i in range(2 + n % 3)]
    return Product(name=name, price_cents=price_cents, weight_g=weight_g, stock=stock, reviews=reviews)
