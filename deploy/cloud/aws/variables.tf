variable "image" {
  description = "The image for CUDA, with a registry that the machine may pull from, pinned by digest"
  type        = string
}

variable "key_name" {
  description = "The SSH key pair, as it is called at AWS"
  type        = string
}

variable "admins" {
  description = "Address ranges that may use SSH"
  type        = list(string)
}

variable "clients" {
  description = "Address ranges that may ask; keep it closed until keys are made"
  type        = list(string)
  default     = []
}

variable "ports" {
  description = "Ports that haproxy listens on"
  type        = list(number)
  default     = [80, 443]
}

variable "region" {
  type    = string
  default = "eu-central-1"
}

variable "zone" {
  type    = string
  default = "eu-central-1a"
}

variable "machine" {
  description = "With an NVIDIA card: g6.xlarge has an L4, 4 cores and 16 GiB"
  type        = string
  default     = "g6.xlarge"
}

variable "data_gib" {
  description = "Size of the disk for catalogue and music, GiB"
  type        = number
  default     = 200
}
