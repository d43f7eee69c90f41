#!/bin/sh
# Makes an environment with TorchServe in the folder $1, beside the torch of the Python that runs Flare ($2, or python3).
# It needs Java 17, such as the package openjdk-17-jre-headless of Debian.
set -eu
python=${2:-python3}
"$python" -m venv "$1"
"$1/bin/python" -m pip install --quiet torchserve==0.12.0 torch-model-archiver==0.12.0 pyyaml
site=$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$site/flare.pth"
"$1/bin/python" -c 'import ts, torch; print("TorchServe", ts.__version__, "with torch", torch.__version__)'
