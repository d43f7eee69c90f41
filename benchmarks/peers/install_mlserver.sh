#!/bin/sh
# Makes an environment with MLServer in the folder $1, beside the torch of the Python that runs Flare ($2, or python3).
set -eu
python=${2:-python3}
"$python" -m venv "$1"
"$1/bin/python" -m pip install --quiet mlserver==1.7.1
site=$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$site/flare.pth"
"$1/bin/python" -c 'import mlserver, torch; print("MLServer", mlserver.__version__, "with torch", torch.__version__)'
