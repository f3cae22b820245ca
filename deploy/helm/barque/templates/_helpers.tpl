{{/* The name of everything that belongs to a release. */}}
{{- define "barque.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "barque.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "barque.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{ include "barque.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* An image: (dict "root" $ "own" .Values.broker.image). */}}
{{- define "barque.image" -}}
{{- $repository := default .root.Values.image.repository (.own).repository -}}
{{- $tag := default (default .root.Chart.AppVersion .root.Values.image.tag) (.own).tag -}}
{{- printf "%s:%v" $repository $tag -}}
{{- end -}}

{{/* Every name server, as brokers and the dashboard want them. */}}
{{- define "barque.nameservers" -}}
{{- $full := include "barque.fullname" . -}}
{{- $servers := list -}}
{{- range $i := until (int .Values.nameserver.replicaCount) -}}
{{- $servers = append $servers (printf "%s-nameserver-%d.%s-nameserver-headless.%s.svc:9876" $full $i $full $.Release.Namespace) -}}
{{- end -}}
{{- join ";" $servers -}}
{{- end -}}

{{/* Settings as arguments: a map, or the text of a properties file. */}}
{{- define "barque.settings" -}}
{{- if kindIs "map" . -}}
{{- range $key, $value := . }}
- {{ printf "--set=%s=%v" $key $value | quote }}
{{- end -}}
{{- else if kindIs "string" . -}}
{{- range $line := splitList "\n" . -}}
{{- $line = trim $line -}}
{{- if and $line (not (hasPrefix "#" $line)) }}
{{- $parts := regexSplit "\\s*=\\s*" $line 2 }}
- {{ printf "--set=%s=%s" (first $parts) (last $parts) | quote }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Not two on one node, if possible: (dict "root" $ "component" "broker" "override" …). */}}
{{- define "barque.affinity" -}}
{{- if .override }}
{{- toYaml .override }}
{{- else -}}
podAntiAffinity:
  preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 10
      podAffinityTerm:
        topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "barque.selector" .root | nindent 12 }}
            app.kubernetes.io/component: {{ .component }}
{{- end -}}
{{- end -}}

{{/* What the values ask for and the server does not do. */}}
{{- define "barque.refuse" -}}
{{- if (.Values.proxy).enabled -}}
{{- fail "proxy.enabled: barque has no gRPC proxy yet; set it to false (remoting clients connect to the brokers)" -}}
{{- end -}}
{{- if .Values.controllerModeEnabled -}}
{{- fail "controllerModeEnabled: barque has no controller yet; set it to false (broker.size.replica gives slaves)" -}}
{{- end -}}
{{- if and (eq .Values.broker.master.brokerRole "SYNC_MASTER") (lt (int .Values.broker.size.replica) 1) -}}
{{- fail "broker.master.brokerRole SYNC_MASTER needs slaves: set broker.size.replica to 1 or more" -}}
{{- end -}}
{{- range $role := list "master" "replica" -}}
{{- $own := index $.Values.broker $role -}}
{{- $args := printf "%s%s %s" (include "barque.settings" $.Values.broker.config) (include "barque.settings" $own.config) (join " " $.Values.broker.extraArgs) -}}
{{- $chosen := regexFindAll "\\bmetricsExporterType=[^\"\\s]*" $args -1 -}}
{{- if and $chosen (has (last $chosen) (list "metricsExporterType=DISABLE" "metricsExporterType=0")) -}}
{{- fail (printf "metricsExporterType DISABLE (of broker.%s): the probes ask the port for metrics, and there would be none; leave the setting out, or use PROM" $role) -}}
{{- end -}}
{{- end -}}
{{- end -}}
