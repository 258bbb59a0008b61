// What FFmpeg wants to find in NVIDIA's CUDA before it asks for NVENC. Nothing is asked of it
// where pictures are D3D11 textures; for any other kind there is no CUDA device.
namespace {
constexpr int kNoDevice = 100;  // CUDA_ERROR_NO_DEVICE
}

#define NONE(name)                              \
  extern "C" __declspec(dllexport) int name() { \
    return kNoDevice;                           \
  }                                             \
  static_assert(true)

extern "C" __declspec(dllexport) int cuGetErrorName(int, const char** text) {
  *text = "CUDA_ERROR_NO_DEVICE";
  return 0;
}
extern "C" __declspec(dllexport) int cuGetErrorString(int, const char** text) {
  *text = "a fake has no CUDA device";
  return 0;
}

NONE(cuInit);
NONE(cuDeviceGetCount);
NONE(cuDeviceGet);
NONE(cuDeviceGetAttribute);
NONE(cuDeviceGetName);
NONE(cuDeviceComputeCapability);
NONE(cuCtxCreate_v2);
NONE(cuCtxSetLimit);
NONE(cuCtxPushCurrent_v2);
NONE(cuCtxPopCurrent_v2);
NONE(cuCtxDestroy_v2);
NONE(cuMemAlloc_v2);
NONE(cuMemAllocPitch_v2);
NONE(cuMemAllocManaged);
NONE(cuMemsetD8Async);
NONE(cuMemFree_v2);
NONE(cuMemcpy);
NONE(cuMemcpyAsync);
NONE(cuMemcpy2D_v2);
NONE(cuMemcpy2DAsync_v2);
NONE(cuMemcpyHtoD_v2);
NONE(cuMemcpyHtoDAsync_v2);
NONE(cuMemcpyDtoH_v2);
NONE(cuMemcpyDtoHAsync_v2);
NONE(cuMemcpyDtoD_v2);
NONE(cuMemcpyDtoDAsync_v2);
NONE(cuCtxGetDevice);
NONE(cuDevicePrimaryCtxRetain);
NONE(cuDevicePrimaryCtxRelease);
NONE(cuDevicePrimaryCtxSetFlags);
NONE(cuDevicePrimaryCtxGetState);
NONE(cuDevicePrimaryCtxReset);
NONE(cuStreamCreate);
NONE(cuStreamQuery);
NONE(cuStreamSynchronize);
NONE(cuStreamDestroy_v2);
NONE(cuStreamAddCallback);
NONE(cuEventCreate);
NONE(cuEventDestroy_v2);
NONE(cuEventSynchronize);
NONE(cuEventQuery);
NONE(cuEventRecord);
NONE(cuLaunchKernel);
NONE(cuLinkCreate);
NONE(cuLinkAddData);
NONE(cuLinkComplete);
NONE(cuLinkDestroy);
NONE(cuModuleLoadData);
NONE(cuModuleUnload);
NONE(cuModuleGetFunction);
NONE(cuModuleGetGlobal);
NONE(cuTexObjectCreate);
NONE(cuTexObjectDestroy);
NONE(cuGLGetDevices_v2);
NONE(cuGraphicsGLRegisterImage);
NONE(cuGraphicsUnregisterResource);
NONE(cuGraphicsMapResources);
NONE(cuGraphicsUnmapResources);
NONE(cuGraphicsSubResourceGetMappedArray);
NONE(cuGraphicsResourceGetMappedPointer_v2);
NONE(cuArray3DCreate_v2);
NONE(cuArrayDestroy);
NONE(cuD3D11GetDevice);
NONE(cuD3D11GetDevices);
NONE(cuGraphicsD3D11RegisterResource);
