"""What every backend must do, and each backend held to it."""

import pytest

# It is no test module by its name, and its assertions should say as much as those of one.
pytest.register_assert_rewrite("tests.contract.backend_contract")
