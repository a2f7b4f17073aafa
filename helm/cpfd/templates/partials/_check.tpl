{{- /* Refuses, with one line each, values that the schema lets pass and that do not go together. */}}
{{- define "cpfd.check" -}}
{{- include "cpfd.checkArms" . -}}
{{- include "cpfd.checkRoute" . -}}
{{- include "cpfd.checkSize" . -}}
{{- include "cpfd.checkEnvironment" . -}}
{{- include "cpfd.checkExperiment" . -}}
{{- include "cpfd.checkLabels" . -}}
{{- include "cpfd.checkLoadtest" . -}}
{{- include "cpfd.checkLog" . -}}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) -}}{{ fail "autoscaling: minReplicas is above maxReplicas" }}{{- end -}}
{{- if eq (int .Values.containerPort) (int .Values.metricsPort) -}}{{ fail "metricsPort: it is containerPort: metrics have a port of their own" }}{{- end -}}
{{- end }}

{{- define "cpfd.armNames" -}}
{{- $names := list -}}
{{- range .Values.arms -}}{{- $names = append $names .name -}}{{- end -}}
{{- toJson $names -}}
{{- end }}

{{- define "cpfd.checkArms" -}}
{{- $names := include "cpfd.armNames" . | fromJsonArray -}}
{{- $weight := 0.0 -}}
{{- $seen := list -}}
{{- range include "cpfd.arms" . | fromJsonArray -}}
{{- if has .name $seen -}}{{ fail (printf "arms: %s is there twice" .name) }}{{- end -}}
{{- $seen = append $seen .name -}}
{{- $weight = addf $weight .weight -}}
{{- $ways := 0 -}}
{{- $bundle := .bundle -}}
{{- range list "source" "claim" "image" -}}
{{- if get $bundle . -}}{{- $ways = add1 $ways -}}{{- end -}}
{{- end -}}
{{- if ne (int $ways) 1 -}}{{ fail (printf "arms: %s needs exactly one of bundle.source, bundle.claim, bundle.image" .name) }}{{- end -}}
{{- if and .bundle.source (not .bundle.digest) -}}{{ fail (printf "arms: %s: a bundle that is fetched needs bundle.digest" .name) }}{{- end -}}
{{- if and .bundle.image (semverCompare "<1.33-0" $.Capabilities.KubeVersion.Version) -}}{{ fail (printf "arms: %s: bundle.image needs Kubernetes 1.33" .name) }}{{- end -}}
{{- end -}}
{{- range $name, $_ := .Values.armWeights -}}
{{- if not (has $name $names) -}}{{ fail (printf "armWeights: there is no arm %s" $name) }}{{- end -}}
{{- end -}}
{{- if le $weight 0.0 -}}{{ fail "arms: at least one weight must be above 0" }}{{- end -}}
{{- end }}

{{- define "cpfd.checkRoute" -}}
{{- $route := .Values.route -}}
{{- $gateway := eq .Values.split.mode "gateway" -}}
{{- with .Values.split.mirror.arm -}}
{{- if not (has . (include "cpfd.armNames" $ | fromJsonArray)) -}}{{ fail (printf "split.mirror.arm: there is no arm %s" .) }}{{- end -}}
{{- if not $gateway -}}{{ fail "split.mirror needs split.mode gateway" }}{{- end -}}
{{- if not (has $route.kind (list "httproute" "istio")) -}}{{ fail "split.mirror needs route.kind httproute or istio: nothing else copies requests" }}{{- end -}}
{{- end -}}
{{- if and $gateway (eq $route.kind "ingress") -}}{{ fail "route.kind: an Ingress cannot weigh arms: use httproute or istio with split.mode gateway" }}{{- end -}}
{{- if and (eq $route.kind "httproute") (not $route.parentRefs) -}}{{ fail "route.parentRefs: name the Gateway that the HTTPRoute attaches to" }}{{- end -}}
{{- if and $route.tlsSecretName (ne $route.kind "ingress") -}}{{ fail "route.tlsSecretName is for an Ingress: TLS of an HTTPRoute or a VirtualService ends at its Gateway" }}{{- end -}}
{{- if and $route.tlsSecretName (not $route.hostnames) -}}{{ fail "route.tlsSecretName: name the certificate's hosts in route.hostnames" }}{{- end -}}
{{- if and $route.gateways (eq $route.kind "istio") (not $route.hostnames) -}}{{ fail "route.hostnames: a VirtualService at a gateway needs the hosts that it answers" }}{{- end -}}
{{- $outside := or (has $route.kind (list "ingress" "httproute")) (and (eq $route.kind "istio") $route.gateways) -}}
{{- if and .Values.networkPolicy.enabled $outside (not .Values.networkPolicy.gatewayFrom) -}}
{{- fail "networkPolicy.gatewayFrom: say where the gateway's pods run (a namespaceSelector or podSelector): the policy would block them without a word" -}}
{{- end -}}
{{- end }}

{{- /* In mode gateway each pod has one arm: it neither assigns nor compares. */}}
{{- define "cpfd.checkExperiment" -}}
{{- if eq .Values.split.mode "gateway" -}}
{{- $experiment := default dict .Values.config.experiment -}}
{{- range list "ramp" "default_arm" "shadow_rate" -}}
{{- if get $experiment . -}}{{ fail (printf "config.experiment.%s needs split.mode in-service: a pod of one arm has no other" .) }}{{- end -}}
{{- end -}}
{{- if .Values.config.experiments -}}{{ fail "config.experiments needs split.mode in-service: the gateway splits, by requests" }}{{- end -}}
{{- if .Values.experiment.stops.claim -}}{{ fail "experiment.stops needs split.mode in-service: change the gateway's weights instead" }}{{- end -}}
{{- end -}}
{{- end }}

{{- define "cpfd.checkSize" -}}
{{- $values := .Values -}}
{{- $tag := include "cpfd.tag" . -}}
{{- if and $values.gpu.enabled (not $values.image.digest) (not (contains "cuda" $tag)) -}}{{ fail (printf "gpu.enabled: image.tag %s does not name the CUDA image: a tag with cuda in it, or image.digest" $tag) }}{{- end -}}
{{- if and (not $values.gpu.enabled) (not $values.image.digest) (contains "cuda" $tag) -}}{{ fail (printf "image.tag %s is the CUDA image, which does not start without a GPU: set gpu.enabled" $tag) }}{{- end -}}
{{- $spool := include "cpfd.spoolBytes" . | int64 -}}
{{- $bytes := include "cpfd.maxBytes" . | int64 -}}
{{- if lt $spool $bytes -}}{{ fail (printf "volumes.spool.sizeLimit %s holds less than the service lets in (%s): the kubelet would evict a busy pod; raise it or lower config.admission.max_bytes" $values.volumes.spool.sizeLimit (include "cpfd.mebibytes" $bytes)) }}{{- end -}}
{{- with dig "limits" "memory" "" $values.resources -}}
{{- $least := include "cpfd.leastMemoryBytes" $ | int64 -}}
{{- if lt (include "cpfd.bytes" . | int64) $least -}}{{ fail (printf "resources.limits.memory %s is too little for the workers and lanes of these cores: at least %s; raise it, or lower config.decode.workers and config.lanes.count" . (include "cpfd.mebibytes" $least)) }}{{- end -}}
{{- end -}}
{{- end }}

{{- /* Settings that the chart reads from `config`, and that the environment would change behind its back. */}}
{{- define "cpfd.checkEnvironment" -}}
{{- range .Values.extraEnv -}}
{{- $name := default "" .name | toString | upper -}}
{{- if regexMatch "^(PORT|HOST|CPFD_(CONFIG|HOST|PORT|METRICS_PORT|ARMS|EXPERIMENTS|EXPERIMENT__(STOP_FILE|FORCE_TOKEN|RAMP|SHADOW_RATE)|BODY|DECODE|LANES|ADMISSION|DEADLINE|DRAIN|LOG)(__.*)?)$" $name -}}
{{- fail (printf "extraEnv: %s belongs in config: probes, grace period, volumes and scaling follow from it there" .name) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* Labels by which Services and Deployments find their pods, and that would be rendered twice. */}}
{{- define "cpfd.checkLabels" -}}
{{- $values := .Values -}}
{{- $added := dict "commonLabels" $values.commonLabels "podLabels" $values.podLabels "monitoring.labels" $values.monitoring.labels "monitoring.dashboards.labels" $values.monitoring.dashboards.labels -}}
{{- range $value, $labels := $added -}}
{{- range $name, $_ := $labels -}}
{{- if regexMatch "^(app[.]kubernetes[.]io|helm[.]sh|cpfd)/" $name -}}{{ fail (printf "%s: %s is a label of the chart's own" $value $name) }}{{- end -}}
{{- if and (ne $value "commonLabels") (hasKey $values.commonLabels $name) -}}{{ fail (printf "%s: %s is in commonLabels already" $value $name) }}{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "cpfd.checkLog" -}}
{{- with .Values.log -}}
{{- if and .enabled (not .claim) (not .shipTo) -}}{{ fail "log: a pod's own volume goes with the pod: name log.shipTo, or a log.claim" }}{{- end -}}
{{- if and .enabled (not .claim) (semverCompare "<1.29-0" $.Capabilities.KubeVersion.Version) -}}{{ fail "log: the side-car needs Kubernetes 1.29: name a log.claim" }}{{- end -}}
{{- if and .enabled (dig "log" "rotate_bytes" 67108864 $.Values.config | int64 | mul 4 | lt (include "cpfd.bytes" .sizeLimit | int64)) (not .claim) -}}{{ fail "log.sizeLimit: less than four files of config.log.rotate_bytes" }}{{- end -}}
{{- end -}}
{{- end }}

{{- define "cpfd.checkLoadtest" -}}
{{- $names := include "cpfd.armNames" . | fromJsonArray -}}
{{- with .Values.loadtest -}}
{{- if and .enabled (ne (eq .shape "ramp-arm") (ne .arm "")) -}}{{ fail "loadtest: the shape ramp-arm, and no other, needs loadtest.arm" }}{{- end -}}
{{- if and .arm (not (has .arm $names)) -}}{{ fail (printf "loadtest.arm: there is no arm %s" .arm) }}{{- end -}}
{{- range $arm, $_ := (dig "arms" dict .objectives) -}}
{{- if not (has $arm $names) -}}{{ fail (printf "loadtest.objectives.arms: there is no arm %s" $arm) }}{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
