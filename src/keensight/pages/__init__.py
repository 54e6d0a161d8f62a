"""All that a person looks at: report, audit, comparison, tuning, gallery."""

import logging

# Without a home folder to write to, Matplotlib says where it puts its cache: no news to anybody, twice.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
