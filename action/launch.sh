#!/usr/bin/env bash
# Starts the program of the action: the one on PATH, in a job container; else the image, on a host.
# Values never stand in a command line, which every process of the host can read: docker gets the
# names of variables. No value is printed either, as the runner takes commands from what is printed.
set -euo pipefail
export LC_ALL=C

fail() { # 1: exit code, 2: a sentence of ours
  printf '::error title=sdi-gate::%s\n' "$2"
  # Later steps may go by the output; the program has not been there to write it.
  [[ -z "${GITHUB_OUTPUT:-}" ]] || printf 'decision=error\ncandidates=0\n' >>"$GITHUB_OUTPUT"
  exit "$1"
}

no_gpu="device is cuda, but there is no GPU here: nvidia-smi must list one on the host, and docker needs NVIDIA's container toolkit; device: cpu works without."

finds_gpu() {
  case "${NVIDIA_VISIBLE_DEVICES:-all}" in none | void) return 1 ;; esac
  [[ "$(timeout 60 nvidia-smi -L 2>/dev/null)" == "GPU "* ]]
}

# One value of --mount or --gpus: fields with commas, quotes or line breaks are quoted as in CSV.
csv() {
  local field joined=""
  for field in "$@"; do joined+=",\"${field//\"/\"\"}\""; done
  printf '%s' "${joined#,}"
}

lies_in() { [[ "$1" == "$2" || "$1" == "$2"/* ]]; }

# The absolute path of an input that names a file or a folder, links not followed.
placed() {
  case "$1" in
    /*) realpath -m -s -- "$1" ;;
    *) realpath -m -s -- "$workspace/$1" ;;
  esac
}

# A link in a checkout must not choose what is mounted.
refuse_links_out() { # 1: input, 2: its path
  ! lies_in "$2" "$workspace" || lies_in "$(realpath -m -- "$2")" "$(realpath -- "$workspace")" ||
    fail 2 "$1 goes by a link out of the workspace: give the folder itself."
}

declare -a mounts=() variables=() gpus=()

mount_path() { # 1: path, 2: readonly, or nothing
  mounts+=(--mount "$(csv type=bind "source=$1" "target=$1" ${2:+"$2"})")
}

mount_folder() { # 1: input, 2: its path
  refuse_links_out "$1" "$2"
  mkdir -p -- "$2" || fail 2 "The folder that $1 names cannot be made: see the line above."
  mount_path "$2"
}

choose_gpus() {
  local wanted="${INPUT_DEVICE:-auto}" visible="${NVIDIA_VISIBLE_DEVICES:-all}"
  [[ "$wanted" != cpu ]] || return 0
  if ! finds_gpu; then
    [[ "$wanted" != cuda ]] || fail 2 "$no_gpu"
    return 0
  fi
  # Runners that share a host are each given a GPU of their own.
  if [[ "$visible" == all ]]; then gpus=(--gpus all); else gpus=(--gpus "$(csv "device=$visible")"); fi
}

choose_variables() {
  local name
  while IFS= read -r name; do
    case "$name" in
      # Files of the runner that steps after this one obey; the program needs none of them.
      GITHUB_ENV | GITHUB_PATH | GITHUB_STATE) ;;
      INPUT_* | GITHUB_* | RUNNER_* | CI) variables+=(--env "$name") ;;
      HF_ENDPOINT | HF_HUB_OFFLINE | HF_TOKEN | MLFLOW_TRACKING_*) variables+=(--env "$name") ;;
      HTTP_PROXY | HTTPS_PROXY | ALL_PROXY | NO_PROXY) variables+=(--env "$name") ;;
      http_proxy | https_proxy | all_proxy | no_proxy) variables+=(--env "$name") ;;
      # Counts from the first GPU of the container, which is another where docker hands out some.
      CUDA_VISIBLE_DEVICES) [[ "${gpus[*]}" != "--gpus all" ]] || variables+=(--env "$name") ;;
    esac
  done < <(compgen -e)
}

choose_mounts() {
  mount_path "$workspace" readonly
  mount_path "$GITHUB_EVENT_PATH" readonly
  mount_path "$GITHUB_OUTPUT"
  mount_path "$GITHUB_STEP_SUMMARY"
  ! lies_in "$INPUT_OUT" "$workspace" || fail 2 "out must name a folder outside of the workspace."
  ! lies_in "$INPUT_CACHE" "$workspace" || fail 2 "cache must name a folder outside of the workspace: a checkout could bring models of its own there."
  mount_folder out "$INPUT_OUT"
  mount_folder cache "$INPUT_CACHE"
  if [[ -n "${INPUT_RUN:-}" ]]; then
    local run
    run="$(placed "$INPUT_RUN")"
    refuse_links_out run "$run"
    # In the workspace it is there already.
    if [[ -f "$run" ]] && ! lies_in "$run" "$workspace"; then mount_path "$run" readonly; fi
  fi
}

have_image() {
  local pinned='^([A-Za-z0-9][A-Za-z0-9._:/-]*@)?sha256:[0-9a-f]{64}$'
  [[ -n "${INPUT_IMAGE:-}" ]] ||
    fail 2 "sdi-gate-action is not on PATH, so that image is needed: name it by digest, as name@sha256:… (docs/action.md)."
  [[ "$INPUT_IMAGE" =~ $pinned ]] ||
    fail 2 "image must be pinned by digest, as name@sha256: and 64 digits 0-9a-f: a tag can be moved to another image."
  command -v docker >/dev/null ||
    fail 2 "Neither sdi-gate-action nor docker is on PATH: run the job in the image, or install docker (docs/action.md)."
  docker version >/dev/null ||
    fail 2 "docker does not answer: see the line above."
}

fetch_image() {
  docker image inspect "$INPUT_IMAGE" >/dev/null 2>&1 || docker pull --quiet "$INPUT_IMAGE" >/dev/null ||
    fail 1 "docker could not pull the image: see the lines above."
}

remove_container() { docker rm --force "$container" >/dev/null 2>&1 || true; }

run_image() {
  container="sdi-gate-$$-$RANDOM$RANDOM$RANDOM"
  # Not --rm: what stands in for docker on some hosts then ends with 0, whatever the program did.
  local -a command=(
    docker run --name "$container" --init --pull never
    --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges
    --user "$(id -u):$(id -g)" --workdir "$workspace" --env HOME=/tmp
    ${gpus[@]+"${gpus[@]}"} "${variables[@]}" "${mounts[@]}" "$INPUT_IMAGE"
  )
  local code=0 child
  trap remove_container EXIT
  # In the background, so that a job that is cancelled stops the container and not only this shell.
  "${command[@]}" &
  child=$!
  trap 'kill -TERM "$child" 2>/dev/null || true' INT TERM
  wait "$child" || code=$?
  # A signal ends the first wait; the second one is for the container.
  if kill -0 "$child" 2>/dev/null; then
    code=0
    wait "$child" || code=$?
  fi
  settle "$code"
}

settle() { # 1: what docker run ended with
  case "$1" in
    0) has_decided || fail 1 "The container ended without a decision: is the image that of sdi-gate?" ;;
    125) [[ ${#gpus[@]} -eq 0 ]] || fail 2 "$no_gpu" ; fail 1 "docker could not start the container: see the lines above." ;;
    126 | 127) fail 1 "The image has no program that starts: is it that of sdi-gate?" ;;
    137) fail 1 "The container was killed, most often for want of memory." ;;
  esac
  exit "$1"
}

# Another image can end with 0, too.
has_decided() {
  local line last=""
  while IFS= read -r line; do
    [[ "$last" != "decision<<"* || "$line" == error ]] || return 0
    last="$line"
  done <"$GITHUB_OUTPUT"
  return 1
}

if command -v sdi-gate-action >/dev/null; then exec sdi-gate-action; fi

# 1. What needs no docker. 2. The image. 3. The container.
for name in GITHUB_WORKSPACE GITHUB_EVENT_PATH GITHUB_OUTPUT GITHUB_STEP_SUMMARY RUNNER_TEMP; do
  [[ -n "${!name:-}" ]] || fail 2 "$name is not set: this runs in a step of GitHub Actions."
done
workspace="$(realpath -m -s -- "$GITHUB_WORKSPACE")"
choose_gpus
have_image
export INPUT_OUT INPUT_CACHE
INPUT_OUT="$(placed "${INPUT_OUT:-$RUNNER_TEMP/sdi-gate}")"
# Without a cache models would go to /tmp of the container, which is memory.
INPUT_CACHE="$(placed "${INPUT_CACHE:-$RUNNER_TEMP/sdi-gate-cache}")"
choose_mounts
choose_variables
fetch_image
run_image
