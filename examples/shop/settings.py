"""Where the services of the shop listen and keep their data, read from the environment."""

import os
import tempfile

HOST = os.environ.get("SHOP_HOST", "127.0.0.1")
GATEWAY_PORT = int(os.environ.get("SHOP_GATEWAY_PORT", "8000"))
ORDERS_PORT = int(os.environ.get("SHOP_ORDERS_PORT", "8001"))
PAYMENTS_PORT = int(os.environ.get("SHOP_PAYMENTS_PORT", "8002"))

ORDERS_URL = os.environ.get("SHOP_ORDERS_URL", f"http://{HOST}:{ORDERS_PORT}")
PAYMENTS_URL = os.environ.get("SHOP_PAYMENTS_URL", f"http://{HOST}:{PAYMENTS_PORT}")

FOLDER = os.environ.get("SHOP_FOLDER", os.path.join(tempfile.gettempdir(), "noops-shop"))
DATABASE_URL = os.environ.get("SHOP_DATABASE_URL", f"sqlite:///{FOLDER}/shop.sqlite")
JOBS_PATH = os.path.join(FOLDER, "jobs")

SLOW_SHARE = float(os.environ.get("SHOP_SLOW_SHARE", 1 / 12))  # of the bank's answers
BUSY_SHARE = float(os.environ.get("SHOP_BUSY_SHARE", 1 / 15))  # of captures, refused for now

os.makedirs(FOLDER, exist_ok=True)
