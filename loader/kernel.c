// SPDX-License-Identifier: Apache-2.0
#include "loader/kernel.h"
