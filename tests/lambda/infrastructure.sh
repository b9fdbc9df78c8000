#!/usr/bin/env bash
# Checks infra/sam, infra/terraform, infra/ecs and infra/kubernetes without an account, and that these checks find what is planted.
#
#   tests/lambda/infrastructure.sh                  # all of it, a minute or two
#   tests/lambda/infrastructure.sh -k Template      # only the tests with this in their name
#
# Needs terraform, 1.11 or newer; the rest is what `tests/setup.sh --aws` installs. Settings: those of tests/setup.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

bash ../setup.sh --aws
python=$(bash ../setup.sh --where)/ministack/bin/python
command -v terraform >/dev/null || { echo 'terraform is missing: install 1.11 or newer' >&2; exit 1; }
# Without the variables by which AWS's tools and Terraform would find an account or other settings.
unset "${!AWS_@}" "${!TF_@}"
exec "$python" -B -m unittest discover --start-directory infrastructure "$@"
