{{- /* Numbers that follow from others: time, cores, what admission lets in, what volumes and memory must hold. */}}

{{- /* One setting of the service that counts: what `config` says, else what follows from the cores, else the service's own
default; takes (dict "root" $ "section" s "name" n). */}}
{{- define "cpfd.setting" -}}
{{- $default := dig .section .name 0 (.root.Files.Get "files/service.yaml" | fromYaml) -}}
{{- $sized := include "cpfd.sizedConfig" .root | fromJson -}}
{{- dig .section .name (dig .section .name $default $sized) .root.Values.config | include "cpfd.bytes" -}}
{{- end }}

{{- define "cpfd.longestDeadlineSeconds" -}}
{{- divf (include "cpfd.unsized" (dict "root" . "section" "deadline" "name" "max_ms") | float64) 1000 | ceil | int -}}
{{- end }}

{{- /* The same for a setting that does not follow from the cores. */}}
{{- define "cpfd.unsized" -}}
{{- $default := dig .section .name 0 (.root.Files.Get "files/service.yaml" | fromYaml) -}}
{{- dig .section .name $default .root.Values.config | include "cpfd.bytes" -}}
{{- end }}

{{- define "cpfd.graceSeconds" -}}
{{- add .Values.lifecycle.preStopSeconds (include "cpfd.longestDeadlineSeconds" . | int) .Values.lifecycle.graceMarginSeconds -}}
{{- end }}

{{- /* A quantity such as 512Mi, or a number, in bytes. */}}
{{- define "cpfd.bytes" -}}
{{- if kindIs "string" . -}}
{{- $scales := dict "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $unit := regexFind "[A-Za-z]*$" . -}}
{{- mulf (trimSuffix $unit . | float64) (get $scales $unit) | int64 -}}
{{- else -}}
{{- int64 . -}}
{{- end -}}
{{- end }}

{{- /* Bytes as whole Mi, rounded up. */}}
{{- define "cpfd.mebibytes" -}}
{{- divf (float64 .) 1048576 | ceil | int64 -}}Mi
{{- end }}

{{- /* Whole cores that the container may count on; empty where nothing says. The service sees a limit, not a request. */}}
{{- define "cpfd.cores" -}}
{{- $cpu := dig "limits" "cpu" (dig "requests" "cpu" "" .Values.resources) .Values.resources | toString -}}
{{- if hasSuffix "m" $cpu -}}
{{- divf (trimSuffix "m" $cpu | float64) 1000 | ceil | int -}}
{{- else if $cpu -}}
{{- $cpu | float64 | ceil | int -}}
{{- end -}}
{{- end }}

{{- /* Bytes of the largest body, as the service reckons it. */}}
{{- define "cpfd.largestBody" -}}
{{- $media := include "cpfd.unsized" (dict "root" . "section" "body" "name" "max_media_bytes") | int64 -}}
{{- $text := include "cpfd.unsized" (dict "root" . "section" "body" "name" "max_text_bytes") | int64 -}}
{{- add $media (mul 3 $text) 65536 -}}
{{- end }}

{{- /* Settings of the service that follow from the cores, as JSON: less than `config`, which wins. Empty without cores.
Each core may have 256 MiB of bodies in flight, and 32 requests where the service does not bound their work in seconds, so
that a full pod is worth the same seconds whatever its size. */}}
{{- define "cpfd.sizedConfig" -}}
{{- $service := .Files.Get "files/service.yaml" | fromYaml -}}
{{- $sized := dict -}}
{{- with include "cpfd.cores" . -}}
{{- $cores := int . -}}
{{- $bytes := max (mul 268435456 $cores) (include "cpfd.largestBody" $ | int64) -}}
{{- $admission := dict "max_bytes" $bytes -}}
{{- if not (hasKey $service.admission "max_seconds_of_work") -}}{{- $_ := set $admission "max_requests" (mul 32 $cores) -}}{{- end -}}
{{- $sized = dict "decode" (dict "workers" (min $cores 256)) "admission" $admission -}}
{{- if hasKey $service "uploads" -}}{{- $_ := set $sized "uploads" (dict "max_bytes" $bytes) -}}{{- end -}}
{{- if not $.Values.gpu.enabled -}}{{- $_ := set $sized "lanes" (dict "count" (min $cores 64)) -}}{{- end -}}
{{- end -}}
{{- toJson $sized -}}
{{- end }}

{{- /* Bytes of bodies that the service holds at most: those at work, and those that still come. */}}
{{- define "cpfd.maxBytes" -}}
{{- $admitted := include "cpfd.setting" (dict "root" . "section" "admission" "name" "max_bytes") | int64 -}}
{{- add $admitted (include "cpfd.setting" (dict "root" . "section" "uploads" "name" "max_bytes") | int64) -}}
{{- end }}

{{- /* Bytes that the spool may hold: the volume's limit, else what admission lets in and a quarter. */}}
{{- define "cpfd.spoolBytes" -}}
{{- with .Values.volumes.spool.sizeLimit -}}
{{- include "cpfd.bytes" . -}}
{{- else -}}
{{- mulf 1.25 (include "cpfd.maxBytes" . | float64) | int64 -}}
{{- end -}}
{{- end }}

{{- /* Bytes of the node's disk that the volumes may fill. */}}
{{- define "cpfd.diskBytes" -}}
{{- $volumes := .Values.volumes -}}
{{- $disk := include "cpfd.bytes" $volumes.tmp.sizeLimit | int64 -}}
{{- if ne $volumes.spool.medium "Memory" -}}{{- $disk = add $disk (include "cpfd.spoolBytes" . | int64) -}}{{- end -}}
{{- if include "cpfd.bundlesAreFetched" . -}}{{- $disk = add $disk (include "cpfd.bytes" $volumes.bundles.sizeLimit | int64) -}}{{- end -}}
{{- if and .Values.log.enabled (not .Values.log.claim) -}}{{- $disk = add $disk (include "cpfd.bytes" .Values.log.sizeLimit | int64) -}}{{- end -}}
{{- $disk -}}
{{- end }}

{{- /* Bytes at which the log on a pod's own volume counts as full: before the kubelet evicts the pod. */}}
{{- define "cpfd.logBytes" -}}
{{- mulf 0.8 (include "cpfd.bytes" .Values.log.sizeLimit | float64) | int64 -}}
{{- end }}

{{- /* The least memory that the service runs in: the models, a decode in every worker, an arena for every lane, and
volumes in memory. 0 where the workers are not known. */}}
{{- define "cpfd.leastMemoryBytes" -}}
{{- $workers := include "cpfd.setting" (dict "root" . "section" "decode" "name" "workers") | int64 -}}
{{- $lanes := include "cpfd.setting" (dict "root" . "section" "lanes" "name" "count") | int64 | max 1 -}}
{{- $least := add 402653184 (mul 67108864 $workers) (mul 134217728 $lanes) -}}
{{- if eq .Values.volumes.spool.medium "Memory" -}}{{- $least = add $least (include "cpfd.spoolBytes" . | int64) -}}{{- end -}}
{{- if .Values.volumes.sharedMemory.enabled -}}{{- $least = add $least (include "cpfd.bytes" .Values.volumes.sharedMemory.sizeLimit | int64) -}}{{- end -}}
{{- ternary $least 0 (gt $workers 0) -}}
{{- end }}

{{- /* What autoscaling reads of each pod, and how much of it one should have, as JSON. Requests say something where the
service bounds their number, and not their work. */}}
{{- define "cpfd.signals" -}}
{{- $share := divf .Values.autoscaling.targetInflightPercent 100 -}}
{{- $made := list (dict "metric" "cpfd_queue_seconds_of_work" "target" (toString .Values.autoscaling.targetQueueSecondsOfWork)) -}}
{{- $bounds := list (list "max_bytes" "cpfd_inflight_bytes") -}}
{{- if not (hasKey (.Files.Get "files/service.yaml" | fromYaml).admission "max_seconds_of_work") -}}
{{- $bounds = prepend $bounds (list "max_requests" "cpfd_inflight_requests") -}}
{{- end -}}
{{- range $bounds -}}
{{- $most := include "cpfd.setting" (dict "root" $ "section" "admission" "name" (first .)) | float64 -}}
{{- $made = append $made (dict "metric" (last .) "target" (mulf $share $most | ceil | int64 | toString)) -}}
{{- end -}}
{{- toJson $made -}}
{{- end }}
