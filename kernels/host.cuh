// What lets index maths compile for the host as well, where its tests prove it by brute force.
#pragma once

#if !defined(__CUDACC__)
#ifndef __host__
#define __host__
#endif
#ifndef __device__
#define __device__
#endif
#endif
