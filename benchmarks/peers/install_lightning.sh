#!/bin/sh
# Makes an environment with Lightning in the folder $1, beside the torch of the Python that runs Flare ($2, or python3).
# Lightning's own requirements are those of Flare already, so nothing else is installed.
set -eu
python=${2:-python3}
"$python" -m venv "$1"
"$1/bin/python" -m pip install --quiet --no-deps lightning==2.6.6 fsspec tqdm packaging PyYAML lightning-utilities
site=$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$site/flare.pth"
"$1/bin/python" -c 'import lightning, torch; print("Lightning", lightning.__version__, "with torch", torch.__version__)'
